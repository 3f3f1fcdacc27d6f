import { UsageError } from '../../common/errors.js'
import { packBatch } from '../../data/packing.js'
import { NativeError } from '../../native/binary.js'
import type { BatchLoss, RunObjective } from '../../objectives/objective.js'
import type { ModelFacts, PassModel, TrainedParameter } from '../trainable.js'

/**
 * Makes one forward and backward pass of a small row through a block of each kind, and discards it: so anything that the device
 * cannot compute for this model and adapter is found before the first step and before an earlier run is touched.
 * @throws UsageError `unsupported` with the operation that is not supported
 */
export async function requireCapable(
  model: ModelFacts,
  passes: PassModel,
  objective: RunObjective,
  parameters: readonly TrainedParameter[],
): Promise<void> {
  const { loss } = await lossOf(model, passes, objective)
  try {
    await loss.backward()
    await loss.item()
  } catch (error) {
    throw explained(error, model)
  } finally {
    loss.dispose()
    for (const parameter of parameters) parameter.zeroGrad()
  }
}

async function lossOf(model: ModelFacts, passes: PassModel, objective: RunObjective): Promise<BatchLoss> {
  passes.setDropout(null)
  try {
    const pieces = objective.smallRow.map((piece) => ({ ...piece, row: 0 }))
    return await objective.loss(passes.trial?.() ?? passes, packBatch(pieces), { gradients: true })
  } catch (error) {
    throw explained(error, model)
  }
}

function explained(error: unknown, { path, device, dtype }: ModelFacts): unknown {
  if (!(error instanceof NativeError) || error.code !== 'unsupported') return error
  const what = path === '' ? 'The model' : `The model ${path}`
  return new UsageError(
    'unsupported',
    `${what} cannot be trained on ${device.kind} in ${dtype}: ${error.message.replace(/\.$/, '')}; use another device.`,
    { cause: error },
  )
}
