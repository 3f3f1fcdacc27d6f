/**
 * Tasks of finance and medicine as AdaptLLM measures them (Cheng et al. 2023): the column `input` holds the whole prompt, shots
 * included.
 */
import type { ChoiceTask } from '../choice-task.js'
import { accuracy, average, meanOf, subjects, weightedF1 } from '../measures.js'
import type { RowEntry } from '../task.js'
import type { TextTask } from '../text-task.js'

/** The options continue the prompt. */
const chosen = {
  kind: 'choices',
  plain: true,
  question: ({ question }) => question,
  answers: ({ choices }) => choices,
  byAdaptllm: () => true,
} as const satisfies Omit<ChoiceTask, 'summarise'>

/** The role of a sentence in an abstract (PubMed RCT, Dernoncourt & Lee 2017). The measure is the micro F1, which is the accuracy. */
export const rctTask: ChoiceTask = { ...chosen, summarise: accuracy }

const f1 = (entries: readonly RowEntry[], weighted: number) => ({
  ...accuracy(entries),
  score: weighted,
  weightedF1: weighted,
})

/** The sentiment of news (Financial PhraseBank) or of headlines and posts (FiQA). */
export const sentimentTask: ChoiceTask = { ...chosen, summarise: (entries) => f1(entries, weightedF1(entries)) }

/** Nine questions about headlines on gold, told apart by `class_id`: the mean of their F1. */
export const headlineTask: ChoiceTask = {
  ...chosen,
  lacks: ({ subject }) => (subject === undefined ? 'subject' : undefined),
  summarise: (entries) => f1(entries, average(subjects(entries).map(([, rows]) => weightedF1(rows)))),
}

const generated = { kind: 'text', plain: true, withoutBos: true, until: ['\n'], maxNewTokens: 100 } as const

/** Names in financial agreements: `Anna (PER), Nordvik (ORG)`. */
export const nerTask: TextTask = {
  ...generated,
  reference: ({ answer }) => answer,
  score: ({ text, answer }) => ({ score: entityF1(entities(answer), entities(text)) }),
  summarise: (entries) => ({ score: meanOf(entries), f1: meanOf(entries) }),
}

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
export const convfinqaTask: TextTask = {
  ...generated,
  reference: ({ answer }) => answer,
  score({ text, answer }) {
    const [expected] = numbers(answer)
    const extracted = numbers(text)
    return { score: Number(expected !== undefined && extracted.some((number) => isClose(number, expected))) }
  },
  summarise: accuracy,
}

/** Returns the numbers of a text's first line. One that Python does not read, such as `035`, is infinite. */
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
