/** Similarities of two texts: those of rapidfuzz, nltk and rouge-score, by their formulas. */
import { splitWords } from '../text/python/methods.js'

/** Maximum number of characters of a compared text: the time of some measures is the product of both lengths. */
export const MOST_COMPARED = 2 ** 14

/** Counts of runs of consecutive words. */
type Counts = ReadonlyMap<string, number>

/**
 * Measures from 0 to 1 by OpenAI's names, of a text and its reference. `bleu` and `gleu` take words between white space, as nltk's
 * `sentence_bleu` without smoothing and `sentence_gleu` do; ROUGE takes lower-case words of a–z and 0–9, and is its F-measure.
 */
export const SIMILARITIES = {
  fuzzy_match: (text, reference) => indelRatio([...text], [...reference]),
  bleu: (text, reference) => bleu(splitWords(text), splitWords(reference)),
  gleu: (text, reference) => gleu(splitWords(text), splitWords(reference)),
  rouge_1: (text, reference) => rouge(text, reference, 1),
  rouge_2: (text, reference) => rouge(text, reference, 2),
  rouge_3: (text, reference) => rouge(text, reference, 3),
  rouge_4: (text, reference) => rouge(text, reference, 4),
  rouge_5: (text, reference) => rouge(text, reference, 5),
  rouge_l(text, reference) {
    const [words, others] = [rougeWords(text), rougeWords(reference)]
    const common = commonSubsequence(words, others)
    return fMeasure(common / Math.max(1, words.length), common / Math.max(1, others.length))
  },
} as const satisfies Readonly<Record<string, (text: string, reference: string) => number>>

export type SimilarityName = keyof typeof SIMILARITIES

/** rapidfuzz's `fuzz.ratio` over 100: 1 minus the insertions and deletions between two texts, over the sum of their lengths. */
function indelRatio(text: readonly string[], reference: readonly string[]): number {
  const length = text.length + reference.length
  return length === 0 ? 1 : (2 * commonSubsequence(text, reference)) / length
}

/**
 * Returns the length of the longest common subsequence, by the bit-parallel algorithm of Hyyrö (2004): bit i of the state is 0 where
 * the length grows at the i-th part.
 */
function commonSubsequence(parts: readonly string[], others: readonly string[]): number {
  const words = Math.ceil(parts.length / 32)
  const places = new Map<string, Uint32Array>()
  for (const [i, part] of parts.entries()) {
    let own = places.get(part)
    if (!own) {
      own = new Uint32Array(words)
      places.set(part, own)
    }
    own[i >>> 5]! |= 1 << (i & 31)
  }
  const state = new Uint32Array(words).fill(0xffffffff)
  for (const other of others) {
    const own = places.get(other)
    if (!own) continue
    let carry = 0
    for (let word = 0; word < words; word++) {
      const before = state[word]!
      const found = (before & own[word]!) >>> 0
      const sum = before + found + carry
      carry = sum > 0xffffffff ? 1 : 0
      state[word] = (sum | (before & ~found)) >>> 0
    }
  }
  let common = 0
  for (let i = 0; i < parts.length; i++) if ((state[i >>> 5]! & (1 << (i & 31))) === 0) common++
  return common
}

/** Returns the counts of all runs of n words. */
function runsOf(words: readonly string[], n: number): Counts {
  const counts = new Map<string, number>()
  for (let i = 0; i + n <= words.length; i++) {
    const run = words.slice(i, i + n).join(' ')
    counts.set(run, (counts.get(run) ?? 0) + 1)
  }
  return counts
}

const total = (counts: Counts): number => [...counts.values()].reduce((sum, count) => sum + count, 0)

const overlap = (counts: Counts, others: Counts): number =>
  [...counts].reduce((sum, [run, count]) => sum + Math.min(count, others.get(run) ?? 0), 0)

/** What a precision of 0 counts as in the logarithm: the smallest normal number of float64, as in nltk. */
const NO_PRECISION = 2 ** -1022

function bleu(words: readonly string[], reference: readonly string[]): number {
  const precisions = [1, 2, 3, 4].map((n) => {
    const runs = runsOf(words, n)
    return overlap(runs, runsOf(reference, n)) / Math.max(1, total(runs))
  })
  if (precisions[0] === 0) return 0
  const brevity = words.length > reference.length ? 1 : Math.exp(1 - reference.length / words.length)
  const logs = precisions.reduce((sum, precision) => sum + Math.log(precision || NO_PRECISION) / 4, 0)
  return brevity * Math.exp(logs)
}

function gleu(words: readonly string[], reference: readonly string[]): number {
  const sum = (values: readonly number[]) => values.reduce((all, one) => all + one, 0)
  const [runs, others] = [words, reference].map((own) => [1, 2, 3, 4].map((n) => runsOf(own, n))) as [
    Counts[],
    Counts[],
  ]
  const all = Math.max(sum(runs.map(total)), sum(others.map(total)))
  return all === 0 ? 0 : sum(runs.map((own, i) => overlap(own, others[i]!))) / all
}

function rouge(text: string, reference: string, n: number): number {
  const [runs, others] = [runsOf(rougeWords(text), n), runsOf(rougeWords(reference), n)]
  const common = overlap(runs, others)
  return fMeasure(common / Math.max(1, total(runs)), common / Math.max(1, total(others)))
}

const rougeWords = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? []

const fMeasure = (precision: number, recall: number): number =>
  precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall)
