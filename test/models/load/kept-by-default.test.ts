/** Whether commands keep quantised weights if no option decides it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { loadModel, Model } from '../../../lib/models/index.js'
import { isAsFast, slowdown } from '../../../lib/models/load/storage-plan.js'
import { mostTokens } from '../../../lib/train/setup/token-budget.js'
import { mora } from '../../cli/mora.js'
import { goldenPath } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { needing } from '../../needs.js'
import { lacksSet, talkingSet } from '../read/quantised-sets.js'

const folder = useTemporaryFolder()
const codes = goldenPath('quantised/bnb-fp4')
const tiny = goldenPath('tiny-untied/model')

/** The note of `mora train` on its weights. */
async function said(model: string, ...more: string[]): Promise<string> {
  const data = join(folder(), 'rows.jsonl')
  writeFileSync(data, [1, 2, 3].map((row) => JSON.stringify({ input_ids: [row, 9, 8, 7, 6, 50, 4] })).join('\n'))
  const place = ['--device', 'cpu', '--threads', '2', '--dtype', 'float32', '--max-steps', '1']
  const output = ['--output', join(folder(), `out-${more.join('-')}`)]
  const { exitCode, stderr } = await mora('train', '--model', model, '--data', data, ...place, ...output, ...more)
  expect(exitCode, stderr).toBe(0)
  return stderr.replaceAll(/\s+/g, ' ')
}

const inOrder = (format: string) => ({ format, ordered: false })

test('a pass loses the less, the more tokens it has', () => {
  const counts = [128, 256, 512, 2048]
  const times = counts.map((tokens) => slowdown(inOrder('q4_1'), 'cpu', tokens)!)
  expect(times).toEqual([...times].sort((a, b) => b - a))
  expect(times.at(-1)).toBeGreaterThan(1)
  expect(times.map((one) => one <= 1.15)).toEqual(counts.map((tokens) => isAsFast(inOrder('q4_1'), 'cpu', tokens)))
  expect([64, 2048].map((tokens) => isAsFast(inOrder('q4_1'), 'cpu', tokens))).toEqual([false, true])
  for (const format of ['float32', 'bfloat16', 'constructor']) {
    expect(slowdown(inOrder(format), 'cpu', 2048)).toBe(null)
    expect(isAsFast(inOrder(format), 'cuda', 16384)).toBe(false)
    expect(isAsFast(inOrder(format), 'cpu', 'one token')).toBe(false)
  }
})

test('inputs that are ordered cost more', () => {
  const forms = [false, true].map((ordered) => ({ format: 'nf4', ordered }))
  const [own, other] = forms.map((form) => slowdown(form, 'cpu', 512)!) as [number, number]
  expect(other).toBeGreaterThan(own)
  expect(forms.map((form) => isAsFast(form, 'cpu', 'one token'))).toEqual([true, false])
  expect(forms.map((form) => isAsFast(form, 'cuda', 'one token'))).toEqual([false, false])
})

test('the tokens of a pass are those of its rows, and no more than one pass allows', () => {
  const of = (options: { batchSize: number; microBatchSize?: number; maxLength?: number }, kind = 'cpu', ranks = 1) =>
    mostTokens(options, 4096, { kind }, ranks)
  expect(of({ batchSize: 8 })).toBe(2048)
  expect(of({ batchSize: 8 }, 'cuda')).toBe(8192)
  expect(of({ batchSize: 8 }, 'cuda', 3)).toBe(3072)
  expect(of({ batchSize: 8, maxLength: 50 })).toBe(400)
  expect(of({ batchSize: 8, microBatchSize: 3 })).toBe(3072)
})

describe('mora train', () => {
  test('keeps quantised weights by default, and says why and how to change it', async () => {
    expect(await said(codes)).toMatch(
      /weights stay in fp4, and take \d+ KiB less than in float32\. .*Passes of 56 tokens take about \d+\.\d\d times as long with them in fp4 as in float32; --no-quantised turns them into float32\./,
    )
  })

  test.each([
    ['rows are few and short', ['--micro-batch-size', '1', '--max-length', '64']],
    ['they are asked for', ['--no-quantised']],
    ['all of them are trained', ['--method', 'full']],
    ['the adapter is merged on the way', ['--merge-every', '1', '--rank', '2']],
  ])('computes with floats if %s, and says what keeping would save', async (_, more) => {
    expect(await said(codes, ...more)).toMatch(
      /stored as fp4; training computes with them in float32; with --quantised they stay as they are, and take \d+ KiB less\. .*Passes of \d+ tokens would take about \d+\.\d\d times as long with them in fp4 as in float32\./,
    )
  })

  test('keeps blocks of GGUF, and those of --quantise without a note on floats', async () => {
    using model = await loadModel(tiny, { device: 'cpu', dtype: 'float32' })
    const blocks = join(folder(), 'model.gguf')
    await model.save(blocks, { dtype: 'q8_0' })
    expect(await said(blocks)).toMatch(/weights stay in q8_0, .*--no-quantised/)
    const quantised = await said(tiny, '--quantise', 'nf4')
    expect(quantised).toMatch(/weights stay in nf4, .*with them in nf4 as in float32\./)
    expect(quantised).not.toContain('--no-quantised')
  })
})

describe('mora generate, and the tasks of mora eval that generate answers', () => {
  const loaded = vi.spyOn(Model.prototype, 'withAdapters')
  afterAll(() => loaded.mockRestore())

  /** Whether a command that writes tokens keeps the weights. */
  async function keeps(model: string, command: readonly string[]): Promise<boolean> {
    loaded.mockClear()
    const place = ['--device', 'cpu', '--threads', '2', '--dtype', 'float32']
    const { exitCode, stderr } = await mora(...command, '--model', model, ...place)
    expect(exitCode, stderr).toBe(0)
    return (loaded.mock.contexts[0] as Model).quantised!.kept
  }
  const sets: readonly [set: string, kept: boolean][] = [
    ['bnb-nf4', true],
    ['bnb-int8', false],
    ['gptq-4-g32-asym-zero', false],
    ['gptq-4-g32-sym-act', false],
    ['awq-g32', false],
    ['ct-int4-g32-asym', false],
    ['fp8-block', false],
  ]
  for (const [set, wanted] of sets)
    needing(lacksSet(set)).test(`${set}: ${wanted}`, async () => {
      const model = talkingSet(join(folder(), 'talker'), set)
      const generate = ['generate', '--prompt', 'Hello', '--max-new-tokens', '2', '--raw']
      expect(await keeps(model, generate)).toBe(wanted)
      expect(await keeps(model, [...generate, wanted ? '--no-quantised' : '--quantised'])).toBe(!wanted)
      const data = join(folder(), 'answers.jsonl')
      writeFileSync(data, JSON.stringify({ prompt: 'Hello', completion: ' you' }))
      expect(await keeps(model, ['eval', '--task', 'recall', '--data', data])).toBe(wanted)
    })
})
