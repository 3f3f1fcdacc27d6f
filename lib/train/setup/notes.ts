/** Notes for the user about a run's setup that need no action. */

import { isSelected } from '../../adapters/contract/patterns.js'
import { rankNotes } from '../../adapters/planning/adapter-cost.js'
import { formatBytes } from '../../common/bytes.js'
import { optionName, theOption } from '../../common/option-names.js'
import { slowdown } from '../../models/load/storage-plan.js'
import type { Model } from '../../models/model.js'
import type { TrainSettings } from '../../options/index.js'
import type { RunRows } from '../rows.js'
import type { TrainedPart } from './plan-model.js'

/** @param tokens in a usual forward pass */
export async function setupNotes(
  model: Model,
  part: TrainedPart,
  rows: RunRows,
  { init }: TrainSettings,
  tokens: number,
): Promise<string[]> {
  const ofTokens = init === undefined ? await untrainedTargets(model, part, rows) : []
  return [...notesOfRanks(model, part), ...storageOfBase(model, tokens), ...ofTokens]
}

function notesOfRanks(model: Model, { adapter }: TrainedPart): string[] {
  if (adapter === null) return []
  const config = model.adapterSet.configs.get(adapter)!
  return rankNotes(
    config,
    model.adaptableLayers().filter((layer) => isSelected(config.targetModules, layer)),
  )
}

/** Says whether quantised weights stay quantised, and what that costs or would cost. */
function storageOfBase({ base, device, dtype, quantised }: Model, tokens: number): string[] {
  const format = quantised?.format ?? base.identity()?.format
  if (format === undefined || format === dtype || /float/i.test(format)) return []
  if (!quantised) return [`The model's weights are stored as ${format}; training computes with them in ${dtype}.`]
  const { kept, onLoad } = quantised
  const size = formatBytes(quantised.saved)
  const times = slowdown(quantised, device.kind, tokens)
  const instead = onLoad || !kept ? '' : `; ${theOption('quantised', false)} turns them into ${dtype}`
  return [
    kept
      ? `The model's weights stay in ${format}, and take ${size} less than in ${dtype}.`
      : `The model's weights are stored as ${format}; training computes with them in ${dtype}; with ${theOption('quantised', true)} they stay as they are, and take ${size} less.`,
    ...(times === null
      ? []
      : [
          `Passes of ${tokens} tokens ${kept ? 'take' : 'would take'} about ${times.toFixed(2)} times as long with them in ${format} as in ${dtype}${instead}.`,
        ]),
  ]
}

/**
 * Names special tokens that an adapter can hardly learn: frozen embeddings and heads of base models often were not trained for
 * them.
 */
async function untrainedTargets(
  model: Model,
  { adapter }: TrainedPart,
  { trainedSpecialTokens: targets }: RunRows,
): Promise<string[]> {
  if (adapter === null || targets.length === 0) return []
  const untrained = await model.untrainedTokens(targets.map(({ id }) => id))
  return targets
    .filter(({ id }) => untrained.includes(id))
    .map(
      ({ token, count }) =>
        `${token} is a target ${count} times, but the model's embedding or head looks untrained for it, so the model may never write it; train both whole (${optionName('modulesToSave', ['embeddings', 'head'])}), or use a template of other tokens.`,
    )
}
