/** Files of every kind that is read, changed by chance but by what their formats mean. See docs/trust.md. */
import { describe, expect, test } from 'vitest'
import { runCases, type Target } from './cases.js'
import { adapterTarget } from './targets/adapter.js'
import { checkpointTarget } from './targets/checkpoint.js'
import { dataTarget } from './targets/data.js'
import { configTarget, ggufTarget, safetensorsTarget, shardsTarget, tokenizerTarget } from './targets/model.js'
import { optionsTarget } from './targets/options.js'
import { templateTarget } from './targets/template.js'

const targets: [name: string, cases: number, make: () => Promise<Target>][] = [
  ['safetensors', 200, safetensorsTarget],
  ['shards', 50, shardsTarget],
  ['config', 200, configTarget],
  ['gguf', 300, ggufTarget],
  ['tokenizer', 250, tokenizerTarget],
  ['template', 150, templateTarget],
  ['adapter', 250, adapterTarget],
  ['checkpoint', 150, checkpointTarget],
  ['data', 350, dataTarget],
  ['options', 100, optionsTarget],
]

/** 2,000 cases; 20,000 in `npm run test:long`. */
const times = Number(process.env.MORA_FUZZ_TIMES ?? (process.env.MORA_TEST_LONG ? 10 : 1))
const [only, onlySeed, onlyIndex] = (process.env.MORA_FUZZ ?? '').split(':')
const seed = Number(onlySeed ?? process.env.MORA_FUZZ_SEED ?? 1)

describe('damaged and hostile files are used, or refused with a sentence that names them', () => {
  test.each(targets.filter(([name]) => !only || name === only))(
    '%s',
    { timeout: 3_600_000 },
    async (name, cases, make) => {
      const indices = onlyIndex === undefined ? Array.from({ length: cases * times }, (_, i) => i) : [Number(onlyIndex)]
      const target = await make()
      const { accepted, problems } = await runCases(target, seed, indices)
      target.dispose?.()
      console.log(`${name}, seed ${seed}: ${indices.length} cases, ${accepted} of them used`)
      expect(problems).toEqual([])
    },
  )
})
