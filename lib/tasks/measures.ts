/** Measures: functions from the entries of rows to a figure. */
import type { RowEntry } from './task.js'

type Entries = readonly RowEntry[]

export const average = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0) / values.length

/** Returns the measure that is the mean over rows of a number in each entry. */
export const meanBy =
  (key: string) =>
  (entries: Entries): number =>
    average(entries.map((entry) => Number(entry[key])))

/** Returns the mean of the rows' scores. */
export const meanScore = meanBy('score')

/** The measures of tasks that publish the accuracy. */
export const accuracy = {
  score: meanScore,
  /** Share of right rows, a fraction. */
  accuracy: meanScore,
}

/** Returns the mean score of the rows of each subject, sorted by name; rows without a subject are left out. */
export function bySubject(entries: Entries): Record<string, number> {
  return Object.fromEntries(subjects(entries).map(([subject, rows]) => [subject, meanScore(rows)]))
}

/** Returns the entries of each subject, sorted by name. */
export function subjects(entries: Entries): [string, RowEntry[]][] {
  const groups = new Map<string, RowEntry[]>()
  for (const entry of entries) {
    if (entry.subject === undefined) continue
    const group = groups.get(entry.subject)
    if (group) group.push(entry)
    else groups.set(entry.subject, [entry])
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1))
}

/**
 * Returns the mean F1 of the classes of right answers, weighted by their numbers of rows (scikit-learn's `weighted`). The F1 of a class that
 * is never predicted correctly is 0.
 */
export function weightedF1(entries: Entries): number {
  let total = 0
  for (const one of new Set(entries.map(({ answer }) => answer))) {
    const rows = entries.filter(({ answer }) => answer === one)
    const predicted = entries.filter((entry) => entry.predicted === one)
    const right = rows.filter((entry) => entry.predicted === one)
    total += rows.length * ((2 * right.length) / (rows.length + predicted.length))
  }
  return total / entries.length
}

/** Returns the index of the highest value, the first of equal ones. */
export const best = (values: readonly number[]): number => values.indexOf(Math.max(...values))

export const quotients = (sums: readonly number[], lengths: readonly number[]): number[] =>
  sums.map((sum, i) => sum / lengths[i]!)
