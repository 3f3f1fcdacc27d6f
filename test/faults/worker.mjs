/** A worker thread that trains without end: `new Worker(..., { workerData: { library, model, data, output } })`. */
import { parentPort, workerData } from 'node:worker_threads'

const { library, model: path, data, output } = workerData
const { loadModel, mora, train } = await import(library)
const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 2 })
model.addAdapter('a', mora({ rank: 2 }))
for await (const event of train(model, { data, output, maxSteps: 1e6, batchSize: 4, saveEvery: 3 })) {
  parentPort.postMessage(event.type)
}
