import { packRows } from '../../batches/packing.js'
import { RunError, UsageError } from '../../common/errors.js'
import type { Model } from '../../models/model.js'
import type { ForwardPasses } from '../../models/network/forward-passes.js'
import { NativeError } from '../../native/binary.js'
import type { BatchLoss, RunObjective } from '../../objectives/objective.js'
import { METHODS } from '../../options/index.js'
import type { Parameter } from '../../tensor/parameter.js'

/**
 * Makes one forward and backward pass of a small row through a block of each kind, and discards it: so anything that the device
 * cannot compute for this model and adapter is found before the first step and before an earlier run is touched.
 * @param method the method of the adapter
 * @throws UsageError `unsupported` with the operation that is not supported
 * @throws RunError `faulty-method` if a tensor of a method from outside of the library gets no gradient
 */
export async function requireCapable(
  model: Model,
  passes: ForwardPasses,
  objective: RunObjective,
  parameters: readonly Parameter[],
  method: string,
): Promise<void> {
  const { loss } = await lossOf(model, passes, objective)
  try {
    // The blocks of the trial may have no adapter.
    if (loss.requiresGrad !== false) await loss.backward()
    await loss.item()
    if (!METHODS.some((known) => known === method)) requireGradients(method, parameters)
  } catch (error) {
    throw explained(error, model)
  } finally {
    loss.dispose()
    for (const parameter of parameters) parameter.zeroGrad()
  }
}

/**
 * Throws if a trained tensor of a layer got no gradient though another of that layer did, or if none got any. Layers that the pass
 * did not go through have none.
 */
function requireGradients(method: string, parameters: readonly Parameter[]): void {
  const placeOf = (name: string) => name.slice(0, Math.max(0, name.lastIndexOf('.')))
  const reached = new Set(parameters.filter(({ grad }) => grad).map(({ name }) => placeOf(name)))
  const forgotten = parameters.find(({ name, grad }) => !grad && (reached.size === 0 || reached.has(placeOf(name))))
  if (!forgotten) return
  const layer = placeOf(forgotten.name)
  const tensor = forgotten.name.slice(layer.length).replace(/^\./, '')
  throw new RunError(
    'faulty-method',
    `The method ${method} gives its tensor ${tensor} beside ${layer} no gradient: compute with it by operations that the tape records, write its gradient in backward, or declare it frozen.`,
  )
}

async function lossOf(model: Model, passes: ForwardPasses, objective: RunObjective): Promise<BatchLoss> {
  passes.setDropout(null)
  try {
    const batch = packRows([{ documents: objective.smallRow }])
    return await objective.loss(passes.trial(), batch, { gradients: true })
  } catch (error) {
    throw explained(error, model)
  }
}

function explained(error: unknown, { path, device, dtype }: Model): unknown {
  if (!(error instanceof NativeError) || error.code !== 'unsupported') return error
  const what = path === '' ? 'The model' : `The model ${path}`
  return new UsageError(
    'unsupported',
    `${what} cannot be trained on ${device.kind} in ${dtype}: ${error.message.replace(/\.$/, '')}; use another device.`,
    { cause: error },
  )
}
