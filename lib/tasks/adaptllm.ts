/**
 * Tasks of finance and medicine as AdaptLLM measures them (Cheng et al. 2023): the column `input` is the whole prompt, shots
 * included.
 */
import { accuracy, average, meanScore, subjects, weightedF1 } from './measures.js'
import {
  type AnswerTask,
  type ChoiceTask,
  choiceRows,
  choiceRowsOfSubject,
  questionRows,
  type RowEntry,
} from './task.js'

/** The options continue the prompt. */
const chosen = {
  rows: choiceRows,
  prompt: { isPlain: true, question: ({ question }) => question },
  choices: ({ choices }) => choices,
  byAdaptllm: () => true,
} satisfies Omit<ChoiceTask, 'measures'>

/** The role of a sentence in an abstract (PubMed RCT, Dernoncourt & Lee 2017). The measure is the micro F1, which is the accuracy. */
export const rct = { ...chosen, measures: accuracy } satisfies ChoiceTask

/** The sentiment of news (Financial PhraseBank) or of headlines and posts (FiQA). */
export const sentiment = {
  ...chosen,
  measures: { ...accuracy, score: weightedF1, weightedF1 },
} satisfies ChoiceTask

const meanF1OfSubjects = (entries: readonly RowEntry[]): number =>
  average(subjects(entries).map(([, rows]) => weightedF1(rows)))

/** Nine questions about headlines on gold, each with its own `class_id`: the mean of their F1. */
export const headline = {
  ...chosen,
  rows: choiceRowsOfSubject,
  measures: { ...accuracy, score: meanF1OfSubjects, weightedF1: meanF1OfSubjects },
} satisfies ChoiceTask

const generated = {
  rows: questionRows(({ answer }) => answer),
  prompt: { isPlain: true, withoutBos: true },
} satisfies Partial<AnswerTask>

const line = { until: ['\n'], maxNewTokens: 100 }

/** Names in financial agreements: `Anna (PER), Nordvik (ORG)`. */
export const ner = {
  ...generated,
  answer: {
    ...line,
    judge: ({ text, answer }) => ({ score: entityF1(entities(answer), entities(text)) }),
  },
  measures: {
    score: meanScore,
    /** Mean F1 of a row's entities, half by their words and half by their types. */
    f1: meanScore,
  },
} satisfies AnswerTask

interface Entity {
  word: string
  type: string
}

/** Returns each entity once: the last word before a type in brackets. */
export function entities(text: string): Entity[] {
  const found = [...text.matchAll(/(\S+\s+)\((\S+)\)/g)].map(([, word, type]) => ({
    word: word!.slice(0, -1),
    type: type!,
  }))
  return found.filter(
    ({ word, type }, i) => found.findIndex((other) => other.word === word && other.type === type) === i,
  )
}

/**
 * Returns the F1 of entities; words and types count separately. Each right entity is compared with the predicted ones up to
 * the first that has its word or its type.
 */
export function entityF1(right: readonly Entity[], predicted: readonly Entity[]): number {
  let matched = 0
  for (const { word, type } of right) {
    const match = predicted.find((other) => other.word === word || other.type === type)
    if (match) matched += Number(match.word === word) + Number(match.type === type)
  }
  return matched === 0 ? 0 : matched / (right.length + predicted.length)
}

/** Figures of financial reports: any number of the answer may be the right one. */
export const convfinqa = {
  ...generated,
  answer: {
    ...line,
    judge({ text, answer }) {
      const [expected] = numbers(answer)
      const extracted = numbers(text)
      return { score: Number(expected !== undefined && extracted.some((number) => isClose(number, expected))) }
    },
  },
  measures: accuracy,
} satisfies AnswerTask

/** Returns the numbers of a text's first line. A number that Python does not read, such as `035`, is infinite. */
export function numbers(text: string): number[] {
  const line = text.split('\n', 1)[0]!
  return [...line.matchAll(/([-+]?\.?\d+(?:,\d{3})*\.?\d*(?:[eE][-+]?\d+)?)(%*)/g)].map(([, digits, percent]) => {
    const plain = digits!.replaceAll(',', '')
    const value = /^[-+]?0+[1-9]\d*$/.test(plain) ? Number.NaN : Number(plain)
    return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value / 100 ** percent!.length
  })
}

/** Python's `math.isclose` with an absolute tolerance of 0.01. */
function isClose(a: number, b: number): boolean {
  return (
    a === b || (Number.isFinite(a - b) && Math.abs(a - b) <= Math.max(0.01, 1e-9 * Math.max(Math.abs(a), Math.abs(b))))
  )
}
