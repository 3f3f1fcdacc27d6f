/** Whether `mora train` keeps quantised weights, where no option says it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { commands } from '../../../lib/cli/commands/index.js'
import { runCommandLine } from '../../../lib/cli/run-command.js'
import { slowdown, staysQuantised } from '../../../lib/models/checkpoint/kept-while-training.js'
import { loadModel } from '../../../lib/models/index.js'
import { mostTokens } from '../../../lib/train/setup/token-budget.js'
import { testTerminal } from '../../cli/terminal.js'
import { goldenPath } from '../../golden/files.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const folder = useTemporaryFolder()
const codes = goldenPath('quantised/bnb-fp4')!
const tiny = goldenPath('tiny-untied/model')!

/** What `mora train` says of its weights. */
async function said(model: string, ...more: string[]): Promise<string> {
  const data = join(folder(), 'rows.jsonl')
  writeFileSync(data, [1, 2, 3].map((row) => JSON.stringify({ input_ids: [row, 9, 8, 7, 6, 50, 4] })).join('\n'))
  const terminal = testTerminal()
  const place = ['--device', 'cpu', '--threads', '2', '--dtype', 'float32', '--max-steps', '1']
  const output = ['--output', join(folder(), `out-${more.join('-')}`)]
  const argv = ['train', '--model', model, '--data', data, ...place, ...output, ...more]
  const exitCode = await runCommandLine(argv, { commands, version: '0.0.0', terminal })
  expect(exitCode, terminal.written.stderr).toBe(0)
  return terminal.written.stderr.replaceAll(/\s+/g, ' ')
}

test('a pass loses the less, the more tokens it has', () => {
  const times = [128, 256, 512, 2048].map((tokens) => slowdown('q4_1', 'cpu', tokens)!)
  expect(times).toEqual([...times].sort((a, b) => b - a))
  expect(times.at(-1)).toBeGreaterThan(1)
  expect(times.map((one) => one <= 1.15)).toEqual(
    [128, 256, 512, 2048].map((tokens) => staysQuantised('q4_1', 'cpu', tokens)),
  )
  expect([staysQuantised('q4_1', 'cpu', 64), staysQuantised('q4_1', 'cpu', 2048)]).toEqual([false, true])
  for (const format of ['float32', 'bfloat16', 'constructor']) {
    expect(slowdown(format, 'cpu', 2048)).toBe(null)
    expect(staysQuantised(format, 'cuda', 16384)).toBe(false)
  }
})

test('passes have as many tokens as rows may have together, and no more than one pass takes', () => {
  const of = (options: { batchSize: number; microBatchSize?: number; maxLength?: number }, kind = 'cpu', ranks = 1) =>
    mostTokens(options, 4096, { kind }, ranks)
  expect(of({ batchSize: 8 })).toBe(2048)
  expect(of({ batchSize: 8 }, 'cuda')).toBe(8192)
  expect(of({ batchSize: 8 }, 'cuda', 3)).toBe(3072)
  expect(of({ batchSize: 8, maxLength: 50 })).toBe(400)
  expect(of({ batchSize: 8, microBatchSize: 3 })).toBe(3072)
})

describe('mora train', () => {
  test('keeps quantised weights by default, and says why and how not to', async () => {
    expect(await said(codes)).toMatch(
      /weights stay in fp4, and take 1 MiB less than in float32\. .*Passes of 56 tokens take about \d+\.\d\d times as long with them in fp4 as in float32; --no-quantised turns them into float32\./,
    )
  })

  test.each([
    ['rows are few and short', ['--micro-batch-size', '1', '--max-length', '64']],
    ['they are asked for', ['--no-quantised']],
    ['all of them are trained', ['--method', 'full']],
    ['the adapter is merged on the way', ['--merge-every', '1', '--rank', '2']],
  ])('computes with floats where %s, and says what keeping would save', async (_, more) => {
    expect(await said(codes, ...more)).toMatch(
      /stored as fp4; training computes with them in float32; with --quantised they stay as they are, and take 1 MiB less\. .*Passes of \d+ tokens would take about \d+\.\d\d times as long with them in fp4 as in float32\./,
    )
  })

  test('keeps blocks of GGUF, and those of --quantise without a word of floats', async () => {
    using model = await loadModel(tiny, { device: 'cpu', dtype: 'float32' })
    const blocks = join(folder(), 'model.gguf')
    await model.save(blocks, { dtype: 'q8_0' })
    expect(await said(blocks)).toMatch(/weights stay in q8_0, .*--no-quantised/)
    const quantised = await said(tiny, '--quantise', 'nf4')
    expect(quantised).toMatch(/weights stay in nf4, .*with them in nf4 as in float32\./)
    expect(quantised).not.toContain('--no-quantised')
  })
})
