/** The configuration of a run, as `run.yaml` and checkpoints record it, and what may change when the run is resumed. */
import { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { camelCase, optionName, theOption } from '../common/option-names.js'
import { describedFields, optionDefault, TrainSchema } from '../options/index.js'
import { type ResumeRule, resumeRule } from '../schema/option-facts.js'

const texts = z.record(z.string(), z.string())

export const RunFactsSchema = z.object({
  /** Every resolved option, by name; `maxSteps` is the total, and the adapter's options are those in use. */
  options: z.record(z.string(), z.unknown()),
  /**
   * The device, threads and dtype in use, and the `processor` with its compute libraries: results are bit-identical only on the
   * same ones, with the same number of `ranks`. `tokenBudget` splits steps into forward passes; a resumed run keeps it.
   */
  machine: z.object({
    device: z.string(),
    processor: z.string(),
    threads: z.int(),
    dtype: z.string(),
    tokenBudget: z.int().min(1),
    // Checkpoints without this field have one rank.
    ranks: z.int().min(1).default(1),
  }),
  versions: texts,
  /** sha256 of the model (`BaseModel.identity`), of the tokenised rows, of the evaluation rows, and `hashes` of the objective. */
  hashes: z.object({ model: z.string(), data: z.string(), evalData: z.string().nullable() }).catchall(z.unknown()),
  /** sha256 of the source of the program's functions, by the option that has them; absent in older runs, whose are unknown. */
  functions: texts.optional(),
  /** Number of trained tensors and of their values. */
  trainable: z.object({ tensors: z.int(), parameters: z.int() }),
})

export type RunFacts = z.output<typeof RunFactsSchema>

/**
 * Compares a run with the one that it continues. Throws a `UsageError` that names the first difference that is neither
 * harmless nor in `allowed` (names of options, of options that are functions, `model`, `data`, `threads`, `dtype`, `device`, or `all`). Returns notices
 * about differences that change rounding; a `deterministic` run rejects these too.
 */
export function compareWithResumed(before: RunFacts, now: RunFacts, allowed: readonly string[]): string[] {
  requireSameParameters(before, now)
  const notices: string[] = []
  for (const { name, was, is, rule } of differences(before, now)) {
    if (name === 'maxSteps' && !lengthMatters(now.options)) continue
    if (now.options.deterministic === true) {
      throw new UsageError(
        'changed-run',
        `The run to resume had ${optionName(name)} ${was}, but now it is ${is}: its bits would differ, and the run is to be deterministic; use what it had, or leave ${theOption('deterministic')} out.`,
      )
    }
    if (rule !== 'rounding' && !isAllowed(name, allowed)) {
      throw new UsageError(
        'changed-run',
        `The run to resume had ${optionName(name)} ${was}, but now it is ${is}: use what it had, start a new run, or allow the change with ${theOption('allowChanges', [name])}.`,
      )
    }
    notices.push(
      `${optionName(name)} is ${is} and was ${was} before: the run goes on, but not bit for bit as it would have.`,
    )
  }
  return notices
}

/** Whether an option, or another named part of the run, may differ from the resumed run. */
export const isAllowed = (name: string, allowed: readonly string[]): boolean =>
  allowed.some((one) => one === 'all' || camelCase(one) === name)

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
  // A run that is older than an option had its default.
  const recorded = (options: RunFacts['options'], name: string) => options[name] ?? defaultOf(name)
  for (const name of new Set([...Object.keys(before.options), ...Object.keys(now.options)])) {
    compare(name, recorded(before.options, name), recorded(now.options, name), resumeRule(TrainSchema, name))
  }
  const { model: _, data: __, evalData: ___, ...ofObjective } = { ...before.hashes, ...now.hashes }
  for (const name of ['data', ...Object.keys(ofObjective)]) {
    const [was, is] = [before.hashes[name], now.hashes[name]]
    const isOfOthers = name === 'data' && before.versions.rows !== now.versions.rows && was !== is
    compare(name, `${hashText(String(was))}${isOfOthers ? OF_OTHERS : ''}`, hashText(String(is)))
  }
  const { functions } = before
  for (const name of functions ? new Set([...Object.keys(functions), ...Object.keys(now.functions ?? {})]) : []) {
    const [was, is] = [functions![name], now.functions?.[name]]
    compare(name, was && `of functions ${hashText(was)}`, is && `of functions ${hashText(is)}`)
  }
  compare('device', before.machine.device, now.machine.device)
  // Another processor adds in a different order.
  compare('processor', before.machine.processor, now.machine.processor, 'rounding')
  compare('ranks', before.machine.ranks, now.machine.ranks, 'rounding')
  compare('dtype', before.machine.dtype, now.machine.dtype)
  // With more ranks on a machine, each has fewer threads.
  const ofThreads = before.machine.ranks === now.machine.ranks ? 'exact' : 'rounding'
  compare('threads', before.machine.threads, now.machine.threads, ofThreads)
  return found
}

/** Rejects a resumed run that trains other tensors than before: some would be lost or start untrained. */
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

/** Whether the steps so far depend on the total number of steps. */
function lengthMatters(options: Record<string, unknown>): boolean {
  return options.scheduler !== 'constant' || Number(options.warmupRatio ?? 0) > 0
}

function defaultOf(name: string): unknown {
  const { shape } = TrainSchema
  return Object.hasOwn(shape, name) ? optionDefault(shape[name as keyof typeof shape]) : undefined
}

const OF_OTHERS = ' (by another version of node-mora, so the rows may be the same)'

function hashText(hash: string): string {
  return `with sha256 ${hash.slice(0, 12)}…`
}

/** Formats a value for a message. */
export function shown(value: unknown): string {
  if (value === undefined) return 'not given'
  return typeof value === 'string' ? value : JSON.stringify(value)
}
