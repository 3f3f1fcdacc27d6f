import { packBatch } from '../../data/packing.js'
import { MoraError, UsageError } from '../../errors.js'
import type { TrainableModel, TrainedParameter } from '../trainable.js'

/**
 * One forward and backward pass over two tokens, forgotten afterwards: what the device cannot compute for this model and
 * adapter is known before anything of an earlier run is touched and before the first step.
 * @throws UsageError `unsupported` with what cannot be computed
 */
export async function requireCapable(model: TrainableModel, parameters: readonly TrainedParameter[]): Promise<void> {
  const { loss } = lossOf(model)
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

function lossOf(model: TrainableModel): ReturnType<TrainableModel['loss']> {
  model.setDropout(null)
  try {
    return model.loss(packBatch([{ ids: [0, 0], mask: [1, 1], row: 0 }]))
  } catch (error) {
    throw explained(error, model)
  }
}

function explained(error: unknown, { path, device, dtype }: TrainableModel): unknown {
  if (!(error instanceof MoraError) || !/not supported/.test(error.message)) return error
  const what = path === '' ? 'The model' : `The model ${path}`
  return new UsageError(
    'unsupported',
    `${what} cannot be trained on ${device.kind} in ${dtype}: ${error.message.replace(/\.$/, '')}; use another device.`,
    { cause: error },
  )
}
