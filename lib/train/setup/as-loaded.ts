import { resolve } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { TheOption } from '../../common/option-names.js'
import { hubIdOf, mayMean, parseHubId } from '../../hub/index.js'
import type { Model } from '../../models/model.js'
import type { TrainSettings } from '../../options/index.js'
import type { Ranks } from '../../tensor/ranks.js'

/** Rejects options that do not fit the model as it was loaded, or the ranks that train it. */
export function requireAsLoaded(model: Model, options: TrainSettings, ranks: Ranks): void {
  requireSameForm(model, options)
  requireTokenizer(model, options)
  requireRanksOf(model, options, ranks)
}

/** Rejects options of loading with other values than the model was loaded with. */
function requireSameForm(model: Model, options: TrainSettings): void {
  const { device, dtype, reference, quantised } = model
  const is = {
    device: device.kind,
    dtype,
    threads: device.facts().threads,
    model: reference,
    quantised: quantised?.kept,
    quantise: quantised?.onLoad ? quantised.format : 'none',
  }
  const wanted = {
    device: options.device === 'auto' ? undefined : options.device.split(':')[0],
    dtype: options.dtype === 'auto' ? undefined : options.dtype,
    // Without a quantised file, there is nothing to keep quantised.
    quantised: quantised ? options.quantised : undefined,
    quantise: options.quantise,
    threads: device.kind === 'cpu' ? options.threads : undefined,
    model: options.model === undefined || namesModel(options.model, model) ? undefined : options.model,
  }
  for (const name of ['device', 'dtype', 'threads', 'model', 'quantised', 'quantise'] as const) {
    if (wanted[name] === undefined || wanted[name] === is[name]) continue
    throw new UsageError(
      'unfit-options',
      `${TheOption(name)} is ${options[name]}, but the model was loaded with ${is[name]}: leave the option out, or give it to loadModel.`,
    )
  }
}

/** Rejects a sharded model if other ranks train it, or if the run needs whole weights. */
function requireRanksOf({ shards, isShared }: Model, { shard, samplePrompt }: TrainSettings, ranks: Ranks): void {
  const refuse = (message: string) => {
    throw new UsageError('unfit-options', message)
  }
  if (shards && shards.ranks !== ranks)
    refuse(
      'The model is sharded over ranks, so the same ranks train it: give train the ranks that loadModel had as shard.',
    )
  if (shards && samplePrompt !== undefined)
    refuse(`${TheOption('samplePrompt')} needs the whole model, but it is sharded over ranks: leave the option out.`)
  if (shard !== undefined && !shards && !isShared && ranks.size > 1)
    refuse(`${TheOption('shard')} is ${shard}, but each rank has the whole model: give loadModel the ranks as shard.`)
}

/** Whether a path or id refers to the model. For a model made from random numbers, any is taken for its tokenizer's. */
function namesModel(name: string, { path, reference }: Model): boolean {
  if (path === '' || name === reference || resolve(name) === resolve(path)) return true
  const [id, found] = [hubIdOf(name), reference === path ? null : parseHubId(reference)]
  return id !== null && found !== null && mayMean(id, found)
}

function requireTokenizer({ tokenizer }: Model, { samplePrompt }: TrainSettings): void {
  if (samplePrompt === undefined || tokenizer) return
  throw new UsageError(
    'no-tokenizer',
    `${TheOption('samplePrompt')} needs a tokenizer, and the model has none: leave the option out, or put tokenizer.json beside the model.`,
  )
}
