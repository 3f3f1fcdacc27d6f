/** An invented language for continual pretraining and pretraining at scale `small`: other words and sentences than the base model's. */
import { chooser } from './language.mjs'

const ONSETS = ['th', 'qu', 'sk', 'y', 'z', 'pr', 'j', 'c', 'x', 'ch']
const VOWELS = ['ae', 'y', 'oo', 'ei', 'u']
const CODAS = ['', 'n', 'x', 'st', 'r']
const STEMS = { noun: 300, verb: 120, adjective: 80 }
/** A noun's ending tells its case and number; the adjective before it takes the same, the verb that of its subject's number. */
const ENDINGS = { subject: ['ya', 'yim'], object: ['oc', 'ocim'], verb: ['eth', 'ethen'] }
const SENTENCES = 4

/** The same words for every seed. */
const LEXICON = lexicon()

function lexicon() {
  const { pick } = chooser(1, 'lexicon of the new language')
  const syllable = () => pick(ONSETS) + pick(VOWELS) + pick(CODAS)
  const stems = new Set()
  const list = (count) =>
    Array.from({ length: count }, () => {
      let stem = syllable()
      while (stems.has(stem)) stem += syllable()
      stems.add(stem)
      return stem
    })
  return { noun: list(STEMS.noun), verb: list(STEMS.verb), adjective: list(STEMS.adjective) }
}

/** Yields texts without end; a seed other than training's yields held-out ones. */
export function* newLanguage(seed) {
  const choose = chooser(seed, 'new language')
  while (true) yield { text: Array.from({ length: SENTENCES }, () => sentence(choose)).join(' ') }
}

function sentence(choose) {
  const [subject, object] = [choose.below(2), choose.below(2)]
  const words = [
    ...nounPhrase(choose, ENDINGS.subject[subject]),
    frequent(choose, LEXICON.verb) + ENDINGS.verb[subject],
    ...nounPhrase(choose, ENDINGS.object[object]),
  ]
  return `${words.join(' ')}${choose.pick(['.', '.', '!', ';'])}`
}

function nounPhrase(choose, ending) {
  const noun = frequent(choose, LEXICON.noun) + ending
  return choose.below(2) === 0 ? [noun] : [frequent(choose, LEXICON.adjective) + ending, noun]
}

/** Returns a word; the n-th is about 1/n as frequent as the first, as in real languages (Zipf). */
function frequent({ below }, words) {
  return words[Math.floor(words.length ** (below(1e6) / 1e6)) - 1]
}
