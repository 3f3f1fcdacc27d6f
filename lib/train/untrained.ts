/** A run that trained nothing, or left selected tensors untrained, saves its result and fails with the reason. */

import { optionName } from '../common/option-names.js'
import { elementsOf } from '../native/addon.js'
import type { Parameter } from '../tensor/parameter.js'
import type { RunWork, Session } from './session.js'

/**
 * Steps after which a tensor without a gradient counts as untrained: a factor of a product whose other factor begins at zero, as in
 * LoRA, has none in the first.
 */
export const STEPS_TO_JUDGE = 3
/** Trained values of up to this many bytes are compared with their initial values. */
const MOST_COMPARED = 2 ** 26

/** Returns copies of the values that a run begins with; null if they take too much memory. */
export async function initialValues(parameters: readonly Parameter[]): Promise<RunWork['initial']> {
  const bytes = parameters.reduce((sum, { shape }) => sum + 4 * elementsOf(shape), 0)
  if (bytes > MOST_COMPARED) return null
  const values = new Map<Parameter, Float32Array>()
  for (const parameter of parameters) values.set(parameter, ((await parameter.data()) as Float32Array).slice())
  return values
}

/** Returns a sentence if every learning rate was 0, so that nothing was trained; else null. */
export function zeroRateNotice({ progress: { counts, state } }: Session): string | null {
  if (counts.taken === 0 || counts.rated > 0) return null
  return `The learning rate of every step up to step ${state.step} was 0, so nothing was trained.`
}

/** Returns a sentence about what the steps so far did not train, the same on all ranks; null if all is trained. */
export async function untrainedReason(session: Session): Promise<string | null> {
  const { work, progress } = session
  const { parameters, optimizer, facts } = work
  const { counts, state } = progress
  const { taken, rated, effective } = counts
  // Moments begin anew with a restart.
  if (taken === 0 || rated === 0 || (effective === 0 && state.merges > 0)) return null
  const without = await optimizer.withoutGradient()
  if (without.length === parameters.length)
    return 'No step had a gradient that is not zero, so nothing was trained: no trained tensor acts on the loss of these rows, or the objective tells no answer from another.'
  if (await isUnchanged(session))
    return 'No trained value changed in any step, so nothing was trained: the learning rate is too low for float32.'
  if (effective < STEPS_TO_JUDGE) return null
  const { updates } = optimizer.state()
  // Full training also takes weights that no pass of its objective reaches.
  const untrained = without.filter((name) => facts.options.method !== 'full' || updates[name]! > 0)
  if (untrained.length === 0) return null
  return `${untrained.length} of ${parameters.length} trained tensors had no gradient that is not zero in any step, so they were not trained, first ${untrained[0]}: leave out what does not act on the loss, with ${optionName('targetModules')} or ${optionName('modulesToSave')}.`
}

async function isUnchanged({ work: { initial, parameters }, progress }: Session): Promise<boolean> {
  if (!initial || progress.state.merges > 0) return false
  for (const parameter of parameters) {
    const [before, now] = [initial.get(parameter)!, await parameter.data()]
    if (before.some((value, i) => value !== now[i])) return false
  }
  return true
}
