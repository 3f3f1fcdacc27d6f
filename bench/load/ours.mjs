// One side of bench/load.mjs: from process start to two training steps, a line for each finished part.
// The only argument is JSON: {model, tokens, method, dtype, rows, length, threads}.

const done = (part) => process.stdout.write(`${part}\n`)
const { model: path, tokens, method, dtype, rows, length, threads } = JSON.parse(process.argv[2])
done('start')
const { AdamW, loadModel } = await import('node-mora')
const { packedBatch, readIds } = await import('../common/batch.mjs')
const { adapterConfig } = await import('../common/methods.mjs')
const { trainStep } = await import('../common/train-step.mjs')
done('imports')
const model = await loadModel(path, { device: 'cpu', dtype, threads })
done('model')
await model.addAdapter('trained', adapterConfig(method))
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const batch = packedBatch(readIds(tokens), rows, length)
done('adapter')
for (const step of ['first step', 'second step']) {
  await trainStep(model, optimizer, batch, 1e-4)
  done(step)
}
