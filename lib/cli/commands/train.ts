import { formatBytes } from '../../common/bytes.js'
import { MoraError } from '../../common/errors.js'
import type { Model } from '../../models/index.js'
import { loadOptions, newAdapterOptions, TrainSchema, type TrainSettings } from '../../options/index.js'
import type { JobRanks } from '../../ranks/job-ranks.js'
import { HostMemory } from '../../tensor/host-memory.js'
import type { Ranks } from '../../tensor/ranks.js'
import type { ShardRanks } from '../../tensor/shards.js'
import type { TrainEvent, TrainResult } from '../../train/events.js'
import { isKnownToAllRanks, RankSync, reportsError } from '../../train/rank-sync.js'
import type { Run } from '../../train/run.js'
import { checkTrainOptions } from '../../train/setup/resolve-options.js'
import { isStoppedEarly, stoppedEarly } from '../../train/stopped-early.js'
import { type CommandContext, type CommandResult, defineCommand } from '../command.js'
import { requireInputs, requirePath } from '../paths.js'
import { formatCount, formatFacts, formatNumber } from '../terminal/format.js'
import { interruptible } from '../terminal/interrupt.js'
import { profileTable } from '../terminal/profile.js'
import { Progress, StepLine, tokenisingLine } from '../terminal/progress.js'
import type { Terminal } from '../terminal/terminal.js'

export const trainCommand = defineCommand({
  name: 'train',
  summary: 'train an adapter, the whole model, or a model from scratch',
  schema: TrainSchema,
  examples: [
    'mora train --model SmolLM2-135M-Instruct.Q4_1.gguf --data train.jsonl --output out',
    'mora train --config out/run.yaml --resume',
  ],
  check(options) {
    checkTrainOptions(options, 'flags')
    requireInputs(TrainSchema, options)
    requirePath('init', options.init)
  },
  async run(options, context) {
    const { connectRanks } = await import('../../ranks/connect-ranks.js')
    return trainOn(await connectRanks({ timeout: options.rankTimeout }), options, context)
  },
})

type RanksOfCommand = Ranks & ShardRanks & Pick<JobRanks, 'deviceFor' | 'threads' | 'close'>

/**
 * Runs the command on one of several ranks: rank 0 prints for all; the other ranks print only errors that not all ranks have.
 */
export async function trainOn(
  ranks: RanksOfCommand,
  options: TrainSettings,
  context: CommandContext,
): Promise<CommandResult> {
  const nothingToPrint = { json: undefined, text: '' }
  try {
    const result = await trained(ranks, options, context).catch(async (error: unknown) => {
      if (ranks.size > 1) throw error
      const { withFigures } = await import('../../fit/concern.js')
      throw await withFigures(error, options.model!, options)
    })
    await ranks.close()
    return ranks.rank === 0 ? result : { ...nothingToPrint, exitCode: result.exitCode }
  } catch (error) {
    // Ranks that can still meet end together, so that none counts another as lost.
    if (isKnownToAllRanks(error)) await ranks.close().catch(() => {})
    if (reportsError(error, ranks.rank)) throw error
    return { ...nothingToPrint, exitCode: error instanceof MoraError ? error.exitCode : 1 }
  }
}

async function trained(ranks: RanksOfCommand, options: TrainSettings, context: CommandContext): Promise<CommandResult> {
  // The modules of training load while the weights are read; a failure is handled below.
  const training = import('../../train/train.js')
  training.catch(() => {})
  const sync = new RankSync(ranks)
  using model = await sync.together(async () => {
    const model = await openModel(options, ranks, sync, context)
    const { referenceAdapter: reference, allowOtherBase, offline } = options
    if (reference === undefined) return model
    // The objective finds the adapter by this name.
    await model.loadAdapter(reference, reference, { allowOtherBase, offline })
    model.setActiveAdapters([])
    return model
  })
  const { startRun } = await training
  model.device.profile(options.profile)
  const quiet = options.quiet || !sync.isFirst
  const setUp = new AbortController()
  let saveLastStep: (() => void) | null = null
  const onBegun = (save: () => void) => {
    saveLastStep = save
  }
  const progress = new Progress(context.terminal.stderr, { quiet })
  // Ranks divide the memory in other ways.
  if (ranks.size === 1) await warnOfMemory(model, options, progress)
  const run = startRun(model, options, { ranks, signal: setUp.signal, onBegun })
  const saveAtOnce = ranks.size > 1 ? () => saveLastStep?.() : null
  // Several ranks end together; a single process has nothing to save before training begins.
  const giveUp = () => {
    if (saveAtOnce || saveLastStep) return false
    setUp.abort(stoppedEarly())
    return true
  }
  const result = await follow(run, progress, { saveAtOnce, giveUp }, context)
  if (options.profile && sync.isFirst)
    context.terminal.stderr.write(`${await profileTable(model.device, model.dtype)}\n`)
  return result
}

/** Warns if the run may need more memory than is free. */
async function warnOfMemory(model: Model, options: TrainSettings, progress: Progress): Promise<void> {
  const { memoryConcern } = await import('../../fit/concern.js')
  const concern = await memoryConcern(model, options)
  if (concern) progress.warn(concern)
}

/** Loads or creates the model on this rank's device; the ranks of a machine may share it. */
async function openModel(given: TrainSettings, ranks: RanksOfCommand, sync: RankSync, { note }: CommandContext) {
  const { initModel, loadModelFor } = await import('../../models/index.js')
  const { mostTokens } = await import('../../train/setup/token-budget.js')
  const device = await ranks.deviceFor(given.device)
  const options = { ...given, device, threads: given.threads ?? ranks.threads }
  const load = { ...loadOptions(options), onWarning: sync.isFirst ? note : undefined }
  const { rank, size, host } = ranks
  const sharing = { rank, size, host, gather: (bytes: Uint8Array) => sync.gather(bytes) }
  const mayShare = keepsBase(options)
  // All ranks meet here, even if their options differ.
  if (!mayShare) await HostMemory.meet(sharing, null)
  if (options.init === undefined) {
    const passes: Parameters<typeof loadModelFor>[0]['passes'] = ({ maxPositions }, device) =>
      mostTokens(options, maxPositions, device, size)
    const together = { shard: options.shard === undefined ? undefined : ranks, ranks: sharing }
    const needsFloats = !mayShare || options.compute === 'int8'
    return loadModelFor(needsFloats ? {} : { passes }, options.model!, { ...load, ...(mayShare && together) })
  }
  const { loadTokenizer } = await import('../../text/tokenizer.js')
  const tokenizer = await loadTokenizer(options.model!, options)
  return initModel(options.init, { ...load, seed: options.seed, tokenizer })
}

/** Whether a model's weights stay as stored in its file, so that ranks of a machine may share them. */
function keepsBase(options: TrainSettings): boolean {
  const isTrained = newAdapterOptions(options).method === 'full' || options.mergeEvery !== undefined
  return options.init === undefined && !isTrained
}

/** Shows a run until it ends; the first interruption stops it with its state saved. */
async function follow(
  run: Run,
  progress: Progress,
  { saveAtOnce, giveUp }: { saveAtOnce: (() => void) | null; giveUp: () => boolean },
  { terminal }: CommandContext,
): Promise<CommandResult> {
  const showEvent = eventPrinter(progress, sparklineColumns(terminal))
  try {
    const { value: result, interrupted } = await interruptible(
      async () => {
        for await (const event of run) showEvent(event)
        return await run.finished
      },
      () => {
        run.stop().catch(() => {}) // the loop above throws it
        if (!giveUp()) progress.note(`stopping after this step${saveAtOnce ? '' : '; once more to stop at once'}`)
      },
      saveAtOnce,
    )
    progress.end()
    const { stopped, ...json } = result
    // Another rank may have received the signal that stopped the run.
    return { json, text: summary(result), exitCode: interrupted || stopped ? 130 : 0 }
  } catch (error) {
    if (!isStoppedEarly(error)) throw error
    const { code, message } = error
    progress.note(message)
    return { json: { error: { code, message } }, text: '', exitCode: 130 }
  } finally {
    progress.end()
    // However the loop above ended, the run uses the model until it has ended.
    await run.finished.catch(() => {})
  }
}

/** Returns a function for the number of columns of the terminal; 0 if it cannot show block characters. */
function sparklineColumns({ stderr, environment }: Terminal): () => number {
  const draws = stderr.isTTY === true && environment.TERM !== 'dumb'
  return () => (draws ? (stderr.columns ?? 80) : 0)
}

function eventPrinter(progress: Progress, columns: () => number): (event: TrainEvent) => void {
  const line = new StepLine()
  const showTokenised = tokenisingLine(progress)
  let isFirst = true
  return (event) => {
    switch (event.type) {
      case 'progress':
        showTokenised(event)
        break
      case 'step':
        progress.show(line.format(event, columns()), isFirst || event.step === event.totalSteps)
        isFirst = false
        break
      case 'evaluation':
        progress.note(
          `step ${event.step}: evaluation loss ${formatNumber(event.evalLoss)}${event.best ? ' (the best so far)' : ''}`,
        )
        break
      case 'sample':
        progress.note(`step ${event.step}: ${JSON.stringify(event.prompt)} → ${JSON.stringify(event.text)}`)
        break
      case 'checkpoint':
        progress.note(`step ${event.step}: saved ${event.path}`)
        break
      case 'merge':
        progress.note(`step ${event.step}: merged and restarted the adapter (${event.merges})`)
        break
      case 'notice':
        progress.warn(event.message)
        break
      case 'end':
        break
    }
  }
}

function summary(result: TrainResult): string {
  const facts: [string, string][] = [
    ['steps', `${formatCount(result.steps)}${result.stopped ? ' (stopped; go on with --resume)' : ''}`],
    ['trained parameters', formatCount(result.trainableParameters)],
    ['speed', `${formatCount(result.tokensPerSecond)} tokens/s`],
    ['peak memory', formatBytes(result.peakMemoryBytes)],
  ]
  if (result.loss !== null) facts.splice(1, 0, ['loss', formatNumber(result.loss)])
  if (result.evalLoss !== null) facts.splice(2, 0, ['evaluation loss', formatNumber(result.evalLoss)])
  const { best } = result
  if (best && best.step !== result.steps)
    facts.push([
      'lowest evaluation loss',
      `${formatNumber(best.evalLoss)} at step ${best.step}${best.isResult ? '; the run ends with the values of this step' : ''}`,
    ])
  if (result.output !== null) facts.push(['output', result.output])
  return formatFacts(facts)
}
