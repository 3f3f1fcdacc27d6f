/** What a run is made of, as `run.yaml` and checkpoints record it, and what may change when it is resumed. */
import { z } from 'zod'
import { UsageError } from '../../common/errors.js'
import { describedFields, TrainSchema } from '../../options/index.js'
import { camelCase } from '../../schema/names.js'
import { type ResumeRule, resumeRule } from '../../schema/option-facts.js'

const texts = z.record(z.string(), z.string())

export const RunFactsSchema = z.object({
  /** Every option as resolved, by its name; `maxSteps` is the total, the adapter's options are those in use. */
  options: z.record(z.string(), z.unknown()),
  /**
   * The device, threads and dtype in use, and the `processor` with the libraries that compute on it: results are the same
   * bits only on the same, and with as many `ranks`. `tokenBudget` cuts the steps into forward passes, and stays what it was when
   * a run is resumed.
   */
  machine: z.object({
    device: z.string(),
    processor: z.string(),
    threads: z.int(),
    dtype: z.string(),
    tokenBudget: z.int().min(1),
    // A checkpoint that does not say is of one rank.
    ranks: z.int().min(1).default(1),
  }),
  versions: texts,
  /** sha256 of the model's files, of the tokenised rows, and of the evaluation rows. */
  hashes: z.object({ model: z.string(), data: z.string(), evalData: z.string().nullable() }),
  /** Numbers of trained tensors and values. */
  trainable: z.object({ tensors: z.int(), parameters: z.int() }),
})

export type RunFacts = z.output<typeof RunFactsSchema>

/**
 * Compares a run with the one that it continues. Throws a `UsageError` that names the first difference which is neither
 * harmless nor in `allowed` (names of options, `model`, `data`, `threads`, `dtype`, `device`, or `all`). Returns notices
 * about differences after which results are not the same bits; a `deterministic` run is refused for any of them.
 */
export function compareWithResumed(before: RunFacts, now: RunFacts, allowed: readonly string[]): string[] {
  requireSameParameters(before, now)
  const notices: string[] = []
  for (const { name, was, is, rule } of differences(before, now)) {
    if (name === 'maxSteps' && !lengthMatters(now.options)) continue
    if (now.options.deterministic === true) {
      throw new UsageError(
        'changed-run',
        `The run to resume had ${name} ${was}, but now it is ${is}: its bits would differ, and the run is to be deterministic; use what it had, or leave the option deterministic out.`,
      )
    }
    if (rule !== 'rounding' && !allowed.some((one) => one === 'all' || camelCase(one) === name)) {
      throw new UsageError(
        'changed-run',
        `The run to resume had ${name} ${was}, but now it is ${is}: use what it had, start a new run, or allow the change with the option allowChanges ${name}.`,
      )
    }
    notices.push(`${name} is ${is} and was ${was} before: the run goes on, but not bit for bit as it would have.`)
  }
  return notices
}

interface Difference {
  name: string
  was: string
  is: string
  rule: ResumeRule
}

function differences(before: RunFacts, now: RunFacts): Difference[] {
  const found: Difference[] = []
  const compare = (name: string, was: unknown, is: unknown, rule: ResumeRule = 'exact') => {
    if (rule !== 'free' && shown(was) !== shown(is)) found.push({ name, was: shown(was), is: shown(is), rule })
  }
  compare('model', hashText(before.hashes.model), hashText(now.hashes.model))
  for (const name of new Set([...Object.keys(before.options), ...Object.keys(now.options)])) {
    compare(name, before.options[name], now.options[name], resumeRule(TrainSchema, name))
  }
  compare('data', hashText(before.hashes.data), hashText(now.hashes.data))
  compare('device', before.machine.device, now.machine.device)
  // Another processor adds in another order.
  compare('processor', before.machine.processor, now.machine.processor, 'rounding')
  compare('ranks', before.machine.ranks, now.machine.ranks, 'rounding')
  compare('dtype', before.machine.dtype, now.machine.dtype)
  // More ranks of a machine have fewer threads each.
  const ofThreads = before.machine.ranks === now.machine.ranks ? 'exact' : 'rounding'
  compare('threads', before.machine.threads, now.machine.threads, ofThreads)
  return found
}

/** A resumed run that trains other tensors than before has lost or thawed some: never allowed. */
function requireSameParameters(before: RunFacts, now: RunFacts): void {
  const [was, is] = [before.trainable, now.trainable]
  if (was.tensors === is.tensors && was.parameters === is.parameters) return
  const changed = describedFields.find((name) => shown(before.options[name]) !== shown(now.options[name]))
  const cause = changed
    ? `${changed} was ${shown(before.options[changed])} and is ${shown(now.options[changed])}`
    : 'use the same model and adapter options'
  throw new UsageError(
    'changed-run',
    `The run to resume trained ${was.parameters} values in ${was.tensors} tensors, but now there are ${is.parameters} in ${is.tensors}: ${cause}.`,
  )
}

/** Whether the steps done already depend on how many there are in all. */
function lengthMatters(options: Record<string, unknown>): boolean {
  return options.scheduler !== 'constant' || Number(options.warmupRatio ?? 0) > 0
}

function hashText(hash: string): string {
  return `with sha256 ${hash.slice(0, 12)}…`
}

/** A value as a message tells it. */
export function shown(value: unknown): string {
  if (value === undefined) return 'not given'
  return typeof value === 'string' ? value : JSON.stringify(value)
}
