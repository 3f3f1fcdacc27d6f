/** A run of training as commands do it: files, the tokenizer's process, the recipe, and the adapter that it saves. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mora } from '../adapters/own-methods.js'
import { packBatch } from '../batches/packing.js'
import { packageFolder } from '../common/package-info.js'
import { loadModel, type Model } from '../models/index.js'
import { train } from '../train/index.js'
import type { Check } from './check.js'

const STEPS = 3
const ROWS = ['oak', 'elm', 'fir', 'ash'].map((tree, i) => ({
  prompt: `The number of the ${tree} is`,
  completion: ` ${4711 * (i + 1)}.`,
}))

const open = () => loadModel(join(packageFolder, 'assets', 'demo-model'), { device: 'cpu', dtype: 'float32' })

/** The loss of a sentence, which the tokenizer splits. */
async function lossOf(model: Model): Promise<number> {
  const ids = await model.tokenizer!.encode(`${ROWS[0]!.prompt}${ROWS[0]!.completion}`)
  using loss = model.loss(packBatch([{ ids, mask: Array.from(ids, () => 1), row: 0 }])).loss
  return await loss.item()
}

async function run(): Promise<number[]> {
  const folder = await mkdtemp(join(tmpdir(), 'mora-check-'))
  try {
    const data = join(folder, 'rows.jsonl')
    await writeFile(data, ROWS.map((row) => `${JSON.stringify(row)}\n`).join(''))
    const output = join(folder, 'adapter')
    using model = await open()
    await model.addAdapter('check', mora({ rank: 1 }), { seed: 1 })
    const losses: number[] = [await lossOf(model)]
    const steps = train(model, { data, output, learningRate: 3e-2, batchSize: ROWS.length, maxSteps: STEPS, seed: 1 })
    for await (const event of steps) if (event.type === 'step') losses.push(event.loss)
    const trained = await lossOf(model)
    using again = await open()
    await again.loadAdapter(output)
    const loaded = await lossOf(again)
    if (loaded !== trained) throw new Error(`the saved adapter gives the loss ${loaded}, the trained one ${trained}`)
    return [...losses, trained]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export const runChecks: readonly Check[] = [
  {
    name: 'a training run of the demo model, its adapter saved and loaded',
    tolerance: 1e-3,
    compute: async () => (await run()).map((value) => Float32Array.of(value)),
  },
]
