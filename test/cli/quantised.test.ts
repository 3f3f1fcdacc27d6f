/** Commands on weights that stay in the codes of their checkpoint. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest'
import { readGguf } from '../../lib/io/gguf.js'
import { CodedWeight } from '../../lib/tensor/coded-weight.js'
import { describeGolden, goldenJson, goldenPath, largestDifference, readTensors } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { talkingSet } from '../models/read/quantised-sets.js'
import { mora } from './mora.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)

let products: MockInstance
beforeEach(() => {
  products = vi.spyOn(CodedWeight.prototype, 'multiply')
})
afterEach(() => products.mockRestore())

/** Runs a command in float32, checks whether it multiplied with codes, and returns what it printed. */
async function moraBy(codes: boolean, ...argv: string[]) {
  products.mockClear()
  const place = ['--device', process.env.MORA_TEST_DEVICE ?? 'cpu', '--threads', '2', '--json', '--quiet']
  const { exitCode, stdout, stderr } = await mora(...argv, ...place)
  expect(exitCode, stdout + stderr).toBe(0)
  expect(products.mock.calls.length > 0, `products with codes of ${argv.join(' ')}`).toBe(codes)
  return JSON.parse(stdout)
}

const talker = (set: string) => talkingSet(at('talker'), set)

const sets = ['bnb-fp4', 'bnb-nf4', 'bnb-nf4-double', 'gptq-4-g32-asym-zero', 'gptq-4-g32-sym-act']

describeGolden('quantised', sets, (set, folder) => {
  const { sequences, logprobs, dequantised } = goldenJson<{
    sequences: number[][]
    logprobs: number[][]
    dequantised: string[]
  }>(`quantised/${set}/expected.json`)

  /** The set's sequences as rows. */
  function rows(): string {
    writeFileSync(at('rows.jsonl'), sequences.map((input_ids) => JSON.stringify({ input_ids })).join('\n'))
    return at('rows.jsonl')
  }

  test('mora generate writes the same text with --quantised and with floats', async () => {
    const generate = ['generate', '--model', talker(set), '--raw', '--prompt', 'abc', '--max-new-tokens', '24']
    const codes = await moraBy(true, ...generate, '--dtype', 'float32', '--quantised')
    const floats = await moraBy(false, ...generate, '--dtype', 'float32', '--no-quantised')
    expect(codes.text.length).toBeGreaterThan(5)
    expect(codes).toEqual({ ...floats, tokensPerSecond: expect.any(Number) })
    await moraBy(true, ...generate, '--dtype', 'bfloat16', '--quantised')
  })

  test('mora eval measures the same with --quantised', async () => {
    const evaluate = async (...more: string[]) => {
      const [output, data] = [at('measured.jsonl'), rows()]
      const argv = ['eval', '--model', folder, '--data', data, '--dtype', 'float32', ...more]
      const codes = more.includes('--quantised')
      const { loss } = await moraBy(codes, ...argv, '--task', 'perplexity')
      await moraBy(codes, ...argv, '--task', 'logprobs', '--output', output)
      const lines = readFileSync(output, 'utf8').trim().split('\n')
      return { loss: loss as number, logprobs: lines.flatMap((line) => JSON.parse(line).logprobs as number[]) }
    }
    const [codes, floats] = [await evaluate('--quantised'), await evaluate()]
    expect(Math.abs(codes.loss / floats.loss - 1)).toBeLessThan(1e-5)
    expect(largestDifference(codes.logprobs, floats.logprobs)).toBeLessThan(1e-5)
    expect(largestDifference(codes.logprobs, logprobs.flat())).toBeLessThan(5e-5)
  })

  test('mora merge writes the values and ΔW of an adapter that was trained beside the codes, rounded once', async () => {
    const train = ['train', '--model', folder, '--data', rows(), '--method', 'lora', '--rank', '2', '--alpha', '6']
    const steps = ['--max-steps', '4', '--learning-rate', '0.02', '--dtype', 'float32', '--output', at('adapter')]
    await moraBy(true, ...train, ...steps, '--quantised')
    const adapter = readTensors(join(at('adapter'), 'adapter_model.safetensors'))
    const values = readTensors(join(folder, 'dequantised.safetensors'))
    // Without --dtype it is bfloat16, whose values have 8 bits.
    for (const [dtype, rounding] of [
      [['--dtype', 'float32'], 0],
      [[], 2 ** -8],
    ] as const) {
      const output = at(`merged-${dtype.length}`)
      await moraBy(false, 'merge', '--model', folder, '--adapter', at('adapter'), '--output', output, ...dtype)
      const merged = readTensors(join(output, 'model.safetensors'))
      for (const name of dequantised) {
        const [rowCount, columns] = values.get(name)!.shape as [number, number]
        const factor = (letter: string) =>
          adapter.get(`base_model.model.${name.replace(/weight$/, `lora_${letter}.weight`)}`)!.values
        const [a, b] = [factor('A'), factor('B')]
        let [largestChange, worst] = [0, 0]
        for (let row = 0; row < rowCount; row++) {
          for (let column = 0; column < columns; column++) {
            const i = row * columns + column
            const terms = [0, 1].map((r) => 3 * b[2 * row + r]! * a[r * columns + column]!)
            const change = terms[0]! + terms[1]!
            const wanted = values.get(name)!.values[i]! + change
            const size = Math.abs(wanted) + terms.reduce((sum, term) => sum + Math.abs(term), 0)
            // In float32, W may have been rounded, and so are products and sums.
            const bound = 4 * 2 ** -24 * (size + Math.abs(change)) + rounding * Math.abs(wanted) + 1e-30
            worst = Math.max(worst, Math.abs(merged.get(name)!.values[i]! - wanted) / bound)
            largestChange = Math.max(largestChange, Math.abs(change))
          }
        }
        expect(largestChange, name).toBeGreaterThan(1e-3)
        expect(worst, name).toBeLessThanOrEqual(1)
      }
    }
  })
})

test('mora train --quantise trains beside the codes of floats, and later commands need no further option', async () => {
  const model = goldenPath('tiny-untied/model')
  const lines = [1, 2, 3].map((row) => JSON.stringify({ input_ids: [row, 9, 8, 7, 6, 50 * row, 4] }))
  writeFileSync(at('rows.jsonl'), lines.join('\n'))
  const data = ['--data', at('rows.jsonl'), '--dtype', 'float32']
  const train = ['train', '--model', model, ...data, '--method', 'lora', '--rank', '2', '--max-steps', '4']
  const run = [...train, '--learning-rate', '0.02', '--quantise', 'nf4', '--output', at('run')]
  await moraBy(true, ...run)
  expect(readFileSync(join(at('run'), 'run.yaml'), 'utf8')).toContain('quantise: nf4')
  await moraBy(true, ...run, '--max-steps', '6', '--resume', '--allow-changes', 'max-steps')
  const perplexity = ['eval', ...data, '--task', 'perplexity']
  const beside = await moraBy(true, ...perplexity, '--model', model, '--quantise', 'nf4', '--adapter', at('run'))
  expect(await moraBy(true, ...perplexity, '--model', model, '--adapter', at('run'))).toEqual(beside)
  await moraBy(false, 'merge', '--model', model, '--adapter', at('run'), '--output', at('whole'), '--dtype', 'float32')
  const whole = await moraBy(false, ...perplexity, '--model', at('whole'))
  expect(Math.abs(whole.loss / beside.loss - 1)).toBeLessThan(1e-5)
  const base = await moraBy(true, ...perplexity, '--model', model, '--quantise', 'nf4')
  expect(beside.loss).toBeLessThan(0.99 * base.loss)
  // Quantised again, it equals the merged floats that are quantised while loading.
  const merge = ['--model', model, '--adapter', at('run'), '--dtype', 'float32', '--quantise']
  const compare = ['--compare', at('rows.jsonl')]
  const { change } = await moraBy(true, 'merge', ...merge, 'nf4', '--output', at('small'), ...compare)
  const small = await moraBy(true, ...perplexity, '--model', at('small'), '--quantised')
  expect(small).toEqual(await moraBy(true, ...perplexity, '--model', at('whole'), '--quantise', 'nf4'))
  await moraBy(false, 'export', ...merge, 'q8_0', '--output', at('small.gguf'), '--format', 'gguf')
  const nearer = await moraBy(false, ...perplexity, '--model', at('small.gguf'))
  expect(Math.abs(nearer.loss / beside.loss - 1)).toBeLessThan(0.01)
  // The same holds with the importance matrix of the adapted model.
  const imatrix = ['imatrix', '--model', model, '--adapter', at('run'), ...data, '--output', at('imatrix.gguf')]
  expect(await moraBy(true, ...imatrix)).toMatchObject({
    output: at('imatrix.gguf'),
    weights: 21,
    tokens: 21,
    chunks: 3,
  })
  await moraBy(false, 'merge', ...merge, 'q4_0', '--output', at('plain.gguf'))
  const matters = ['--imatrix', at('imatrix.gguf')]
  await moraBy(false, 'merge', ...merge, 'q4_0', '--output', at('weighted.gguf'), ...matters)
  const blocksOf = async (path: string) => {
    const { metadata, tensors } = await readGguf(path)
    const { offset, bytes } = tensors.get('blk.0.attn_q.weight')!
    return {
      matrix: metadata.get('quantize.imatrix.file'),
      blocks: readFileSync(path).subarray(offset, offset + bytes),
    }
  }
  const [plain, weighted] = [await blocksOf(at('plain.gguf')), await blocksOf(at('weighted.gguf'))]
  expect([plain.matrix, weighted.matrix]).toEqual([undefined, 'imatrix.gguf'])
  expect(weighted.blocks.equals(plain.blocks)).toBe(false)
  // The reported change is that, and for floats next to nothing.
  expect(Math.abs(change.before / beside.loss - 1)).toBeLessThan(1e-6)
  expect(Math.abs(change.after / small.loss - 1)).toBeLessThan(1e-6)
  expect(change.klDivergence).toBeGreaterThan(1e-3)
  const floats = ['merge', '--model', model, '--adapter', at('run'), '--dtype', 'float32', '--output', at('again')]
  const exact = await moraBy(true, ...floats, ...compare)
  expect(exact.change).toMatchObject({ sameTopTokens: 1, targets: change.targets })
  expect(exact.change.maxAbsoluteChange).toBeLessThan(1e-4)
})

describe('mora merge --compare refuses rows before anything is written', () => {
  const model = goldenPath('tiny-untied/model')
  test.each([
    ['a row that is none', '{"input_ids": [1, 2, 3]}\n{"input_ids": "1"}', /rows\.jsonl:2.*input_ids/],
    ['a token of another vocabulary', '{"input_ids": [1, 2, 100000]}', /100000/],
    ['text without a tokenizer', '{"text": "Hello"}', /has no tokenizer/],
    ['nothing to predict', '{"input_ids": [1]}', /no token is predicted, so there is nothing to compare/],
    ['nothing', '\n', /rows\.jsonl/],
  ])('%s', async (_, rows, message) => {
    writeFileSync(at('rows.jsonl'), rows)
    const adapter = join(goldenPath('methods'), 'lora/start')
    const merge = ['merge', '--model', model, '--adapter', adapter, '--output', at('whole'), '--threads', '2']
    const { exitCode, stderr } = await mora(...merge, '--compare', at('rows.jsonl'), '--allow-other-base')
    expect(exitCode).toBeGreaterThan(0)
    expect(stderr.replaceAll(/\s+/g, ' ')).toMatch(message)
    expect(stderr).not.toContain('merging')
    expect(existsSync(at('whole'))).toBe(false)
  })
})
