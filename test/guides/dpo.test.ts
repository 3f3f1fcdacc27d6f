/** The loop of docs/guides/dpo.md. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { loadModel, packBatch, tokeniseRow } from '../../lib/index.js'
import { placeExample, runExample, startExample } from '../example-process.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { lacksDraw } from './drawn-guide.js'

const data = join(import.meta.dirname, '../../examples/preferences.jsonl')
const folder = useTemporaryFolder()
const lossesOf = (printed: string) =>
  [...printed.matchAll(/^step \d+ {2}loss (\S+)$/gm)].map(([, loss]) => Number(loss))
const heldOutOf = (printed: string) =>
  [...printed.matchAll(/^held-out pairs: (\d+) of 8 right, mean margin (\S+)$/gm)].map(([, right, mean]) => [
    Number(right),
    Number(mean),
  ])

needing(lacksDraw('dpo'), lacksBuild).test(
  'it learns what is preferred, and continues where it was killed',
  async () => {
    const module = placeExample(folder(), 'dpo')
    const output = join(folder(), 'whole')
    const whole = await runExample(module, DEMO_MODEL, data, output, '3')
    const losses = lossesOf(whole)
    expect(losses).toHaveLength(15)
    expect(losses[0]).toBeCloseTo(Math.LN2, 6)
    expect(losses[14]).toBeLessThan(0.3)
    const [before, after] = heldOutOf(whole)
    expect(before).toEqual([0, 0])
    expect(after![0]).toBeGreaterThanOrEqual(7)
    expect(Math.abs(after![1]! / (await meanMargin(output)) - 1)).toBeLessThan(1e-4)

    const killed = startExample(module, [DEMO_MODEL, data, join(folder(), 'killed'), '3'])
    let said = ''
    killed.stdout!.on('data', (text) => {
      said += text
      if (said.includes('step 6 ')) killed.kill('SIGKILL')
    })
    await once(killed, 'close')
    const rest = await runExample(module, DEMO_MODEL, data, join(folder(), 'killed'), '3')
    expect([5, 10]).toContain(lossesOf(rest).length) // from a checkpoint of every fifth step
    expect(lossesOf(rest)).toEqual(losses.slice(-lossesOf(rest).length))
    expect(heldOutOf(rest)[1]).toEqual(after)
  },
)

/** The mean of β (ln π(chosen) − ln π(rejected) − the same of the base) over the last eight pairs, one row at a time. */
async function meanMargin(adapter: string): Promise<number> {
  using model = await loadModel(DEMO_MODEL, { device: 'cpu', dtype: 'float32', threads: 1 })
  await model.loadAdapter(adapter)
  const { tokenizer } = model
  const pairs = readFileSync(data, 'utf8')
    .trim()
    .split('\n')
    .slice(-8)
    .map((line) => JSON.parse(line))
  let sum = 0
  for (const { prompt, chosen, rejected } of pairs) {
    for (const [completion, sign] of [
      [chosen, 1],
      [rejected, -1],
    ]) {
      const { documents } = await tokeniseRow({ prompt, completion }, { tokenizer })
      const batch = packBatch([{ ...documents[0]!, row: 0 }])
      for (const [one, factor] of [
        [model, 1],
        [model.withAdapters([]), -1],
      ] as const) {
        for (const logProb of await one.tokenLogProbs(batch)) sum += 0.1 * sign * factor * logProb
      }
    }
  }
  return sum / pairs.length
}
