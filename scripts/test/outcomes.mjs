/** The outcomes of tests: counts, summaries and unions of runs. */
import { relative } from 'node:path'

/**
 * @typedef {object} Outcome one for each test and project of vitest
 * @property {string} file from the repository's root
 * @property {string} name empty for a file that cannot be loaded, and for a program
 * @property {'passed' | 'failed' | 'skipped'} status
 * @property {string} [needs] what a skipped test needs (test/needs.ts)
 */

/**
 * Reads the outcomes from a report of vitest's reporter `json`.
 * @returns {Outcome[]}
 */
export function outcomesOf({ testResults }, root) {
  return testResults.flatMap(({ name, status, assertionResults }) => {
    const file = relative(root, name)
    if (status === 'failed' && assertionResults.length === 0) return [{ file, name: '', status }]
    return assertionResults.map(({ fullName, status, meta }) => {
      if (status === 'passed' || status === 'failed') return { file, name: fullName, status }
      const needs = meta.needs ?? /\[needs ([^\]]+)\]/.exec(fullName)?.[1]
      return { file, name: fullName, status: 'skipped', needs }
    })
  })
}

const OF_DATA = ' of MORA_TEST_ASSETS'
const lacksData = ({ needs }) => needs?.includes(OF_DATA)
const skippedOf = (outcomes) => outcomes.filter(({ status }) => status === 'skipped')

/** The files in which tests were skipped for lack of data. */
export const filesForData = (outcomes) => [
  ...new Set(
    skippedOf(outcomes)
      .filter(lacksData)
      .map(({ file }) => file),
  ),
]

/** The key that identifies a test in different runs. */
export const keyOf = ({ file, name }) => `${file}\n${name}`
export const passedIn = (outcomes) => new Set(outcomes.filter(({ status }) => status === 'passed').map(keyOf))

/**
 * Joins a run with a later run of some of its files with more data, which adds tests that had not passed before.
 * @param {Outcome[]} first
 * @param {Outcome[]} second
 */
export function withAdded(first, second) {
  const again = new Set(second.map(({ file }) => file))
  const before = passedIn(first)
  const kept = first.filter(({ file, status }) => status !== 'skipped' || !again.has(file))
  return [...kept, ...second.filter((outcome) => outcome.status === 'failed' || !before.has(keyOf(outcome)))]
}

/** Returns sentences that say how many tests were skipped for lack of what, the most frequent first. */
export function whatWasMissing(outcomes) {
  const skipped = skippedOf(outcomes)
  const sentence = (why, some) => {
    const kinds = [...tally(some, kindOf)].sort(([, a], [, b]) => b - a).map(([kind, count]) => `${kind} ${count}`)
    return some.length === 0 ? [] : [`${some.length} skipped for want of ${why}: ${kinds.join(', ')}.`]
  }
  return [
    ...sentence('data, of which MORA_TEST_ASSETS names the folder', skipped.filter(lacksData)),
    ...sentence(
      'something else',
      skipped.filter((outcome) => !lacksData(outcome)),
    ),
  ]
}

const kindOf = ({ needs = 'what they do not say' }) => needs.replace(/:[\s\S]*/, '').replace(OF_DATA, '')

/** The line that ends every run. */
export function closingLine(outcomes) {
  const count = (wanted) => outcomes.filter(({ status }) => status === wanted).length
  return `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`
}

function tally(outcomes, keyOf) {
  const counts = new Map()
  for (const outcome of outcomes) counts.set(keyOf(outcome), (counts.get(keyOf(outcome)) ?? 0) + 1)
  return counts
}
