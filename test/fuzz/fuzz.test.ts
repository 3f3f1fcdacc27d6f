/** Files of every kind that is read, with random changes that follow their formats. See docs/trust.md. */
import { describe, expect } from 'vitest'
import { needing } from '../needs.js'
import { runCases } from './cases.js'
import { targets } from './targets/index.js'

/** 500 cases. The 20,000 of `npm run test:long` run under sanitizers: sanitized.test.ts. */
const times = Number(process.env.MORA_FUZZ_TIMES ?? 0.25)
const [only, onlySeed, onlyIndex] = (process.env.MORA_FUZZ ?? '').split(':')
const seed = Number(onlySeed ?? process.env.MORA_FUZZ_SEED ?? 1)

describe('damaged and hostile files are used, or refused with a sentence that names them', () => {
  for (const [name, cases, make, lacks = null] of targets.filter(([name]) => !only || name === only))
    needing(lacks).test(name, { timeout: 3_600_000 }, async () => {
      const indices =
        onlyIndex === undefined ? Array.from({ length: Math.ceil(cases * times) }, (_, i) => i) : [Number(onlyIndex)]
      const target = await make()
      const { accepted, problems } = await runCases(target, seed, indices)
      target.dispose?.()
      console.log(`${name}, seed ${seed}: ${indices.length} cases, ${accepted} of them used`)
      expect(problems).toEqual([])
    })
})
