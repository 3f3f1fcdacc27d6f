/** Word problems with worked answers in GSM8K's form: the result follows `####`. */
import { chooser, PEOPLE, THINGS } from './language.mjs'

/** `{prompt, completion, answer}` rows, a function of the seed; rows of different seeds share questions only by chance. */
export function mathRows(count, seed) {
  const choose = chooser(seed, 'word problems')
  return Array.from({ length: count }, () => {
    const { question, steps, answer } = choose.pick(PROBLEMS)(choose)
    return { prompt: question, completion: ` ${steps.join(' ')} #### ${answer}`, answer: String(answer) }
  })
}

const PROBLEMS = [
  ({ pick, between }) => {
    const [person, thing] = [pick(PEOPLE), pick(THINGS)]
    const [a, b, c] = [between(10, 30), between(2, 9), between(2, 9)]
    return {
      question: `${person} has ${a} ${thing}, finds ${b} and sells ${c}. How many now?`,
      steps: [`${a} + ${b} = ${a + b}.`, `${a + b} - ${c} = ${a + b - c}.`],
      answer: a + b - c,
    }
  },
  ({ pick, between }) => {
    const [person, thing] = [pick(PEOPLE), pick(THINGS)]
    const [a, b, c] = [between(2, 6), between(2, 6), between(2, 9)]
    return {
      question: `${person} has ${a} bags of ${b} ${thing} and finds ${c}. How many now?`,
      steps: [`${a} x ${b} = ${a * b}.`, `${a * b} + ${c} = ${a * b + c}.`],
      answer: a * b + c,
    }
  },
  ({ pick, between }) => {
    const [person, other, thing] = [pick(PEOPLE), pick(PEOPLE), pick(THINGS)]
    const [a, b] = [between(2, 9), between(2, 9)]
    return {
      question: `${person} has ${a} ${thing}, ${other} has ${b} more. How many have both?`,
      steps: [`${a} + ${b} = ${a + b}.`, `${a} + ${a + b} = ${a + a + b}.`],
      answer: a + a + b,
    }
  },
]
