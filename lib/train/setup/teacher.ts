import { UsageError } from '../../common/errors.js'
import { loadModel, Model } from '../../models/index.js'
import type { Objective } from '../../objectives/objective.js'
import type { TrainSettings } from '../../options/index.js'
import type { Tokenizer } from '../../text/tokenizer.js'

/**
 * Loads the model that a run by name imitates, beside the trained one, for the caller to dispose of; null if the program has given
 * it, or there is none.
 * @throws UsageError `other-vocabulary` if the tokens of one are not those of the other
 */
export async function loadTeacher(
  model: Model,
  { teacher, offline, rotaryDtype }: TrainSettings,
  { live, signal }: { live?: Objective['live']; signal?: AbortSignal | undefined },
): Promise<Model | null> {
  const given = live?.teacher
  if (given instanceof Model) requireSameTokens(model.tokenizer, given.tokenizer)
  if (given || teacher === undefined) return null
  const { kind, index } = model.device
  const device = kind === 'cpu' ? kind : `${kind}:${index}`
  const loaded = await loadModel(teacher, { device, dtype: model.dtype, rotaryDtype, offline, signal })
  try {
    requireSameTokens(model.tokenizer, loaded.tokenizer)
    return loaded
  } catch (error) {
    loaded.dispose()
    throw error
  }
}

/** Control tokens may differ: models of one family rename unused ones. */
function requireSameTokens(ours: Tokenizer | null, theirs: Tokenizer | null): void {
  if (!ours || !theirs) return
  const size = Math.max(ours.vocabularySize, theirs.vocabularySize)
  for (let id = 0; id < size; id++) {
    if (ours.addedIds.has(id) || theirs.addedIds.has(id)) continue
    const [is, was] = [ours.tokenOf(id), theirs.tokenOf(id)]
    if (is === was) continue
    throw new UsageError(
      'other-vocabulary',
      `Token ${id} is ${JSON.stringify(was) ?? 'none'} to the teacher, but ${JSON.stringify(is) ?? 'none'} to the model: distillation needs the same vocabulary.`,
    )
  }
}
