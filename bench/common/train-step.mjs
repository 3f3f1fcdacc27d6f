/** One optimizer step: forward, backward, clipping, AdamW. Resolves with the mean loss and the norm before clipping. */
export async function trainStep(model, optimizer, batch, learningRate) {
  const { loss, targetTokens } = model.loss(batch)
  await loss.backward()
  const norm = optimizer.step({ learningRate, scaleGradients: 1 / targetTokens, maxGradNorm: 1 })
  const values = { loss: (await loss.item()) / targetTokens, gradNorm: await norm.item() }
  loss.dispose()
  norm.dispose()
  return values
}
