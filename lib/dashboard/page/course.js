/** The progress of a run, its times, and its problems. */
import { shortened } from './axes.js'
import { formatCount, formatDuration, formatNumber } from './format.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */

/** A problem is shown if the loss is higher than at its start by this factor. */
const RISEN = 1.5
/** The last share of a run's steps, whose speed predicts the remaining time. */
const RECENT = 0.2

/** @param {ShownRun} run */
export function secondsOf({ metrics }) {
  return metrics?.steps.last?.values.seconds ?? null
}

/**
 * Returns the seconds until a running run ends, at the speed of its latest steps; null if that is unknown.
 * @param {ShownRun} run
 */
export function secondsLeft({ summary, metrics }) {
  const { steps = [], at = {}, last } = metrics?.steps ?? {}
  const seconds = at.seconds ?? []
  if (summary.status !== 'running' || !summary.totalSteps || !last || steps.length < 2) return null
  const since = Math.min(Math.floor(steps.length * (1 - RECENT)), steps.length - 2)
  const [from, to] = [seconds[since], seconds.at(-1)]
  if (typeof from !== 'number' || typeof to !== 'number') return null
  const pace = (to - from) / ((steps.at(-1) ?? 0) - (steps[since] ?? 0))
  return Math.max(0, summary.totalSteps - last.step) * pace
}

/**
 * Describes the progress of a run in short parts.
 * @param {ShownRun} run
 */
export function courseOf(run) {
  const { step, totalSteps } = run.summary
  const parts = [`Step ${formatCount(step)}${totalSteps ? ` of ${formatCount(totalSteps)}` : ''}`]
  const epoch = run.metrics?.steps.last?.values.epoch
  if (typeof epoch === 'number') parts.push(`epoch ${shortened(epoch, 2)}`)
  const [seconds, left] = [secondsOf(run), secondsLeft(run)]
  if (seconds !== null) parts.push(`${formatDuration(seconds)} so far`)
  if (left !== null) parts.push(`about ${formatDuration(left)} left`)
  const checkpoints = run.details?.checkpoints ?? []
  if (checkpoints.length > 0) {
    const shown = checkpoints.slice(-4).map(formatCount).join(', ')
    parts.push(`checkpoints at ${checkpoints.length > 4 ? '…, ' : ''}${shown}`)
  }
  return parts
}

/**
 * @param {ShownRun} run
 * @returns {string[]}
 */
export function problemsOf({ summary, metrics, details }) {
  const problems = [...(details?.problems ?? [])]
  if (!metrics) return problems
  const losses = metrics.steps.metrics.loss?.mean ?? []
  const [first, last] = [losses.find((value) => value !== null), metrics.steps.last?.values.loss]
  const at = formatCount(metrics.steps.last?.step)
  if (last === null) problems.push(`The loss of step ${at} is not finite: the run has diverged.`)
  if (typeof first === 'number' && typeof last === 'number' && last > first * RISEN && first > 0) {
    problems.push(
      `The loss has risen from ${formatNumber(first)} to ${formatNumber(last)}: a lower learning rate may help.`,
    )
  }
  if (summary.status === 'running' && losses.length === 0)
    problems.push('The run has begun; its first step is not done yet.')
  if (metrics.malformed > 0) {
    problems.push(`${formatCount(metrics.malformed)} lines of metrics.jsonl could not be read.`)
  }
  if (metrics.hasMoreOwn) problems.push('There are more metrics of your own than can be shown: these are the first.')
  return problems
}
