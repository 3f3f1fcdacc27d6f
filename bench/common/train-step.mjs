/**
 * Takes one optimizer step: forward, backward, clipping, AdamW. `batches`: one, or several whose gradients are summed. Resolves
 * with the mean loss and the gradient norm before clipping.
 */
export async function trainStep(model, optimizer, batches, learningRate) {
  let [sum, targets] = [0, 0]
  for (const batch of [batches].flat()) {
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    sum += await loss.item()
    targets += targetTokens
    loss.dispose()
  }
  const norm = optimizer.step({ learningRate, scaleGradients: 1 / targets, maxGradNorm: 1 })
  const gradNorm = await norm.item()
  norm.dispose()
  return { loss: sum / targets, gradNorm }
}
