/** The small language that the base checkpoint of scale `small` is pretrained on, and the words that tasks share. */
import { randomStream } from 'node-mora/adapters'
import { randomFacts } from '../../../bench/common/internals.mjs'

export const PEOPLE = ['Ada', 'Bruno', 'Chen', 'Dora', 'Emil', 'Fatima', 'Goran', 'Hana']
export const THINGS = ['apples', 'books', 'cups', 'keys', 'stones', 'coins', 'pens', 'nuts']
const CONSONANTS = 'bdfghklmnprstvw'
const VOWELS = 'aeiou'

/** Questions about a word. */
export const SKILLS = {
  backwards: { name: 'backwards', answer: (word) => [...word].reverse().join('') },
  capitals: { name: 'in capitals', answer: (word) => word.toUpperCase() },
  spelt: { name: 'spelt out', answer: (word) => [...word].join(' ') },
  twice: { name: 'twice', answer: (word) => `${word} ${word}` },
  consonants: { name: 'without vowels', answer: (word) => word.replace(/[aeiou]/g, '') },
}

/** Random choices by name: `pick` of a list, `below` a limit, `between` two numbers (both included). */
export function chooser(seed, name) {
  const random = randomStream(seed, name)
  const below = (limit) => Math.floor(random.uniform() * limit)
  return { below, pick: (list) => list[below(list.length)], between: (low, high) => low + below(high - low + 1) }
}

/** Returns a pronounceable word of three syllables: `lamiro`. */
export function randomWord({ pick }) {
  return Array.from({ length: 3 }, () => pick(CONSONANTS) + pick(VOWELS)).join('')
}

/** Yields texts without end; a seed other than training's yields held-out ones. */
export function* baseTexts(seed) {
  const choose = chooser(seed, 'base language')
  const facts = randomFacts(256, 1)
  const fact = ({ pick }) => {
    const { prompt, completion } = pick(facts)
    return prompt + completion
  }
  while (true) yield { text: choose.pick([sentence, sum, story, skill, fact])(choose) }
}

function sentence({ pick, between }) {
  return `${pick(PEOPLE)} ${pick(['has', 'finds', 'buys', 'sells', 'counts'])} ${between(2, 40)} ${pick(THINGS)}.`
}

/** Three sums of the kinds that word problems need. */
function sum(choose) {
  return Array.from({ length: 3 }, () => oneSum(choose)).join(' ')
}

function oneSum({ pick, between }) {
  const [a, b, c] = [between(2, 40), between(2, 9), between(2, 9)]
  return pick([`${a} + ${b} = ${a + b}.`, `${a + b} - ${b} = ${a}.`, `${b} x ${c} = ${b * c}.`])
}

function story({ pick, between }) {
  const [person, thing, a, b] = [pick(PEOPLE), pick(THINGS), between(2, 40), between(2, 9)]
  return `${person} has ${a} ${thing} and finds ${b}. Now ${person} has ${a + b} ${thing}.`
}

function skill(choose) {
  const word = randomWord(choose)
  const { name, answer } = choose.pick(Object.values(SKILLS))
  return `${word} ${name} is ${answer(word)}.`
}
