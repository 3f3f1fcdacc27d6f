/** The method of docs/guides/own-method.md. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { placeExample, runExample } from '../example-process.js'
import { readTensors } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { lacksDraw } from './drawn-guide.js'

const facts = join(import.meta.dirname, '../../examples/facts.jsonl')
const folder = useTemporaryFolder()

needing(lacksDraw('own-method'), lacksBuild).test(
  'its gradients are right, it learns, and its file and its merged weights compute the same',
  async () => {
    const output = join(folder(), 'out')
    const printed = await runExample(placeExample(folder(), 'own-method'), DEMO_MODEL, facts, output, '20')
    const checked = [...printed.matchAll(/^(\w+ \w+) (0\.\d+)$/gm)]
    expect(checked.map(([, what]) => what)).toEqual([
      'x forward',
      'gain forward',
      'x weightUpdate',
      'gain weightUpdate',
    ])
    for (const [, , error] of checked) expect(Number(error)).toBeLessThan(1e-4)
    const [base, own, merged] = Array.from(printed.matchAll(/ (\d\.\d{5,})/g), ([, loss]) => Number(loss)).slice(
      -3,
    ) as [number, number, number]
    expect(own).toBeLessThan(base - 0.2)
    expect(Math.abs(merged - own)).toBeLessThan(1e-5)
    expect(JSON.parse(readFileSync(join(output, 'adapter_config.json'), 'utf8'))).toMatchObject({
      peft_type: 'GAIN',
      dropout: 0,
    })
    expect(readTensors(join(output, 'adapter_model.safetensors')).size).toBe(8) // two layers of each block
  },
)
