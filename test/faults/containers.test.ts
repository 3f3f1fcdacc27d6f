/** Whatever memory a container has, a command succeeds or says that it has too little; nothing is killed. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { words } from '../cli/words.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksLong, needing } from '../needs.js'
import { trainInto } from './command.js'
import { type GroupEnding, lacksGroups, runWithin } from './containers.js'

const at = useTemporaryFolder()
const lacksContainers = lacksBuild ?? lacksGroups()
const MiB = 2 ** 20

const data = 'data/gsm-symbolic/train.jsonl'
const lacksLarge = lacksLong ?? lacksRealModel ?? lacksAsset(data, 'data sets')

const lastLine = ({ stderr }: GroupEnding) => stderr.trim().split('\n').at(-1)

/** Whether the command fits; otherwise it was refused in words. */
function fits(ending: GroupEnding, limit: number): boolean {
  const { code, signal, stderr, killed, peak } = ending
  const what = `within ${limit} MiB, of which ${Math.ceil(peak / MiB)} were taken: ${stderr.slice(-600)}`
  expect({ killed, signal }, what).toEqual({ killed: 0, signal: null })
  if (code === 0) return true
  expect([1, 2], what).toContain(code)
  expect(stderr, what).toMatch(/^mora: [^\n]* [\d.]+ [MG]iB[^\n]*\.\n$/m)
  expect(stderr).not.toMatch(/bad_alloc|FATAL|heap|allocation failed/i)
  return false
}

/** Runs a command at each limit [MiB] and returns which were enough; none may be below one that was not. */
function fitting(limits: readonly number[], argv: (limit: number) => string[]): number[] {
  const enough = limits.filter((limit) => {
    const ending = runWithin(limit * MiB, argv(limit))
    if (lacksLarge === null)
      console.info(`${limit} MiB: ${ending.code}, ${Math.ceil(ending.peak / MiB)} MiB taken; ${lastLine(ending)}`)
    return fits(ending, limit)
  })
  expect(enough).toEqual(limits.slice(limits.length - enough.length))
  return enough
}

needing(lacksContainers).describe('within the memory of a container', () => {
  it('a run of a small model is refused in words, or ends well', () => {
    const enough = fitting([112, 192, 288], (limit) => trainInto(join(at(), `${limit}`), '--quiet', '--max-steps', '2'))
    expect(enough).toEqual([288])
  })
})

needing(lacksContainers, lacksLarge).describe(
  'within the memory of a container, a model of 135 M',
  { timeout: 1_800_000 },
  () => {
    const limits = [112, 192, 256, 320, 400, 480, 560, 640, 800, 1000, 1600, 4000]
    const training = (output: string, ...more: string[]) => {
      const rows = join(at(), 'rows.jsonl')
      writeFileSync(rows, readFileSync(assetPath(data), 'utf8').split('\n').slice(0, 4).join('\n'))
      return words`
        train --model ${assetPath(REAL_MODEL)} --data ${rows} --output ${output} --max-steps 2 ${more}
      `
    }

    it.each([
      ['mora', []],
      ['lora', ['--rank', '64']],
      ['pissa', ['--target-modules', 'q_proj,down_proj']],
      ['dora', ['--dropout', '0.1']],
      ['full', []],
    ])('is trained by %s', (method, more) => {
      const enough = fitting(limits, (limit) => training(join(at(), `${limit}`), '--method', method, ...more))
      expect(enough).toContain(4000)
      expect(enough).not.toContain(256)
    })

    it('is merged, and generates', () => {
      const adapter = join(at(), 'adapter')
      expect(fits(runWithin(4096 * MiB, training(adapter)), 4096)).toBe(true)
      const both = ['--model', assetPath(REAL_MODEL), '--adapter', adapter]
      const merging = (limit: number) => ['merge', ...both, '--output', join(at(), `m${limit}`)]
      expect(fitting(limits, merging)).toContain(4000)
      const generating = () => ['generate', ...both, '--prompt', 'Two and two', '--max-new-tokens', '8']
      expect(fitting(limits, generating)).toContain(4000)
    })

    it('is trained on rows of 512 tokens, eight at a time', () => {
      const rows = join(at(), 'long-rows.jsonl')
      const row = JSON.stringify({ input_ids: Array.from({ length: 512 }, (_, i) => (i * 7919) % 49_152) })
      writeFileSync(rows, `${row}\n`.repeat(8))
      const run = ['--model', assetPath(REAL_MODEL), '--data', rows, '--max-steps', '1']
      const all = (limit: number) => ['train', ...run, '--output', join(at(), `${limit}`)]
      expect(fitting([600, 800, 1000, 1600], all)).toContain(1000)
      const inOnePass = (limit: number) => [...all(limit), '--micro-batch-size', '8', '--overwrite']
      expect(fitting([800, 1000, 4000], inOnePass)).toEqual([4000])
    })
  },
)
