/** The rules of PEFT's MetaMathQA protocol, one by one, and the whole recipe on a tiny model. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadModel, packBatch, squareSide } from 'node-mora'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { isRight, numberOf, parseAnswer } from '../../experiments/metamathqa/answers.js'
import { numpyShuffle } from '../../experiments/metamathqa/numpy-shuffle.js'
import { PROTOCOL } from '../../experiments/metamathqa/protocol.js'
import { percentile } from '../../experiments/metamathqa/report.js'
import { bucketedBatches, encodeProblem, isKept, promptOf, trainingBatch } from '../../experiments/metamathqa/rows.js'
import { main } from '../../experiments/metamathqa/run.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'

describe('rows', () => {
  it('are kept up to 1300 characters, counted as code points', () => {
    const row = (length: number, letter = 'a') => ({ query: letter.repeat(100), response: letter.repeat(length - 101) })
    expect([1300, 1301].map((length) => isKept(row(length)))).toEqual([true, false])
    expect(isKept(row(1300, '𝑎'))).toBe(true)
  })

  it('are asked unchanged, with their replacement patterns', () => {
    const query = "Tom has $& and $1 and {query}. How many $'s?"
    expect(promptOf({ query, response: '' }, PROTOCOL.query_template)).toBe(
      `Question: ${query} Think step by step.\nAnswer:`,
    )
  })

  it('come in buckets of 80 in file order, each sorted long to short, ties as they were', async () => {
    const lengths = Array.from({ length: 85 }, (_, i) => (i === 84 ? 99 : i % 3))
    const rows = lengths.map((length, i) => Object.assign(new Array<number>(length).fill(0), { row: i }))
    const batches: number[][] = []
    for await (const batch of bucketedBatches(rows, 4)) batches.push(batch.map(({ row }) => row))
    expect(batches.map(({ length }) => length)).toEqual([...new Array(21).fill(4), 1])
    expect(batches[0]).toEqual([2, 5, 8, 11])
    expect(batches.slice(0, 20).flat().slice(-2)).toEqual([75, 78])
    // The longest row of all is in the second bucket.
    expect(batches[20]).toEqual([84, 80, 83, 82])
    expect(batches[21]).toEqual([81])
  })
})

describe('a batch', () => {
  const EOS = 99
  const rows = [
    [1, 2, 3, 4, 5],
    [6, 7, 8, 9, 10],
    [11, 12, 13, 14],
    [15, 16],
  ]

  /** Inputs and targets of rows padded with EOS on the right, whose labels ignore all pads but the first, shifted. */
  function padded(): { input: number[]; target: number }[] {
    const length = Math.max(...rows.map((ids) => ids.length))
    return rows.flatMap((ids) => {
      const input = [...ids, ...new Array<number>(length - ids.length).fill(EOS)]
      const labels = input.map((id, t) => (t >= ids.length + 1 ? -100 : id))
      return labels.slice(1).flatMap((target, t) => (target === -100 ? [] : [{ input: input.slice(0, t + 1), target }]))
    })
  }

  it('has the targets of the padded one, and its divisor', () => {
    const { batch, attended } = trainingBatch(rows, EOS)
    const found = [...batch.targets].flatMap((target, t) => {
      if (target < 0) return []
      const start = batch.offsets.findLast((offset) => offset <= t)!
      return [{ input: [...batch.ids.subarray(start, t + 1)], target }]
    })
    expect(found).toEqual(padded())
    expect(found.filter(({ target }) => target === EOS)).toHaveLength(2)
    expect(attended).toBe(5 + 5 + 4 + 2)
  })
})

it("validation rows are those of numpy's shuffle", () => {
  // numpy 1.26: numpy.random.seed(0); numpy.random.shuffle(numpy.arange(n))
  expect([...numpyShuffle(10, 0)]).toEqual([2, 8, 4, 9, 1, 6, 7, 3, 0, 5])
  const first = [...numpyShuffle(7473, 0).subarray(0, 12)]
  expect(first).toEqual([6447, 6827, 39, 4229, 5594, 2200, 1029, 6375, 2006, 3925, 3605, 1168])
})

describe('answers', () => {
  it.each([
    ['so it is 4.The answer is: 16', '16'],
    ['The answer is 5 apples.', '5 apples'],
    ['The answer is: 1\nThe answer is: 2\n\nQuestion: more', '2'],
    // The first delimiter of the list, not of the text.
    ['#### 3\nThe answer is 4. #### 5', '4. #### 5'],
    ['The final answer is: 7 and #### 9', '7 and #### 9'],
    ['He pays.\n#### $18.00', '18.00'],
    ['#### 50%', '50'],
    // The delimiter's space was trimmed with the end of the text.
    ['I think The answer is ', null],
    ['no answer', null],
    ['the answer is: 3', null],
  ])('of %j is %j', (text, answer) => {
    expect(parseAnswer(text)).toBe(answer)
  })

  it.each([
    ['13', 13],
    ['65.330', 65.33],
    [' -.5 ', -0.5],
    ['5.', 5],
    ['1e3', 1000],
    ['1_000', 1000],
    ['20/35', 0.5714285714285714],
    ['0.1 / 0.3', 1 / 3],
    ['-1/2', -0.5],
    ['1/0', null],
    ['1/2/3', null],
    ['1,000', null],
    ['x', null],
    ['.', null],
    ['', null],
    ['0x10', null],
  ])('%j is the number %j', (text, value) => {
    expect(numberOf(text)).toBe(value)
  })

  it.each([
    ['The answer is: 18.0', '#### 18', true],
    ['The answer is: 3/4', '#### 0.75', true],
    ['The answer is: 1000', '#### 1,000', false],
    ['The answer is: 1,000', '#### 1,000', true],
    ['The answer is: x + 1', '#### x + 1', true],
    ['The answer is: 18 apples', '#### 18', false],
    ['18', '#### 18', false],
  ])('%j for %j: %j', (prediction, response, right) => {
    expect(isRight(prediction, response)).toBe(right)
  })

  it('a response without one is an error', () => {
    expect(() => isRight('#### 1', 'one')).toThrow('has no answer')
  })
})

it('MoRA has the budget of LoRA r = 32 on queries and values of Llama-3.2-3B', () => {
  const trained = (operator: 'sharing' | 'rotation') =>
    28 * (squareSide(3072, 3072, 32, operator) ** 2 + squareSide(3072, 1024, 32, operator) ** 2)
  expect(28 * 32 * (3072 + 3072 + 3072 + 1024)).toBe(9_175_040)
  expect([trained('sharing'), trained('rotation')]).toEqual([9_164_204, 9_139_424])
})

it("percentiles lie between values as numpy's do", () => {
  // numpy.percentile([4, 1, 3, 2], 99)
  expect(percentile([4, 1, 3, 2], 99)).toBeCloseTo(3.97, 12)
})

describe('the whole recipe', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-metamathqa-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const write = (name: string, rows: readonly object[]) => {
    const path = join(folder, name)
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    return path
  }
  const sums = Array.from({ length: 12 }, (_, i) => ({ query: `What is ${i} + ${i * i}?`, answer: `${i + i * i}` }))
  const long = { query: 'a'.repeat(1300), response: 'b' }
  const train = write('train.jsonl', [
    long,
    ...sums.map(({ query, answer }) => ({ query, response: ` A sum. The answer is: ${answer}` })),
  ])
  const gsm8k = sums.map(({ query, answer }) => ({ question: query, answer: `A sum.\n#### ${answer}` }))
  const [valid, test] = [write('valid.jsonl', gsm8k.slice(0, 2)), write('test.jsonl', gsm8k.slice(2, 4))]
  const wiki = write('wiki.jsonl', [{ text: 'The sea is wide and deep.' }, { text: 'Old stones lie there.' }])
  const argv = [
    ...['--model', DEMO_MODEL, '--data', train, '--valid', valid, '--test', test, '--device', 'cpu'],
    ...['--dtype', 'float32', '--rank', '2', '--learning-rate', '0.01'],
  ]

  it('trains, validates, tests, and reports as PEFT does', async () => {
    const output = join(folder, 'out')
    vi.spyOn(console, 'log').mockImplementation(() => {})
    vi.spyOn(console, 'error').mockImplementation(() => {})
    await main([...argv, '--wiki', wiki, '--steps', '3', '--eval-steps', '1', '--output', output])
    const report = JSON.parse(readFileSync(join(output, 'report.json'), 'utf8'))
    expect(report.run_info).toMatchObject({
      train_config: { max_steps: 3, seed: 0, optimizer_kwargs: { lr: 0.01, weight_decay: 0.1 } },
      peft_config: { use_mora: true, r: 2, target_modules: ['q_proj', 'v_proj'] },
    })
    const { metrics, num_trainable_params, status, file_size } = report.train_info
    expect(status).toBe('success')
    expect(num_trainable_params).toBeGreaterThan(0)
    expect(file_size).toBeGreaterThan(4 * num_trainable_params)
    expect(metrics.map(({ step }: { step: number }) => step)).toEqual([1, 2, 3, 3])
    expect(metrics.map((each: object) => Object.keys(each).length)).toEqual([10, 10, 10, 6])
    expect(metrics[3]).toMatchObject({ 'train samples': 12, 'test accuracy': expect.any(Number) })
    expect(metrics[3].forgetting).not.toBe(0)

    // The first step's loss: of the twelve rows in one bucket, the four longest.
    const model = await loadModel(DEMO_MODEL, { device: 'cpu', dtype: 'float32' })
    const { tokenizer } = model
    const tokens = await Promise.all(
      sums.map(({ query, answer }) =>
        tokenizer!.encodeText(`Question: ${query} Think step by step.\nAnswer: A sum. The answer is: ${answer}`),
      ),
    )
    const ids = tokens.toSorted((a, b) => b.length - a.length).slice(0, 4)
    const longest = ids[0]!.length
    const rows = ids.map((each) => (each.length < longest ? [...each, tokenizer!.eosId!] : each))
    const batch = packBatch(rows.map((each, row) => ({ ids: each, mask: each.map(() => 1), row })))
    const logprobs = await model.tokenLogProbs(batch)
    model.dispose()
    const loss = -logprobs.reduce((total, value) => total + value, 0) / ids.flat().length
    expect(metrics[0]['train loss']).toBeCloseTo(loss, 4)
    expect(metrics[3]['train total tokens']).toBe(tokens.reduce((total, each) => total + each.length + 1, 0))
  })

  it('needs rows for every step', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    const run = main([...argv, '--steps', '4', '--eval-steps', '4', '--output', join(folder, 'short')])
    await expect(run).rejects.toThrow('has rows for 3 steps, and 4 were asked for')
  })

  it.each([
    ['--steps', 'few', 'Expected a positive number for --steps but received few.'],
    ['--rank', '1.5', 'Expected a positive number for --rank but received 1.5.'],
    ['--steps', '100', 'Expected --eval-steps of at most the 100 steps but received 250.'],
  ])('refuses %s %s', async (option, value, message) => {
    await expect(main([...argv, option, value])).rejects.toThrow(message)
  })
})

it('a tokenizer cuts a row at 768 tokens', async () => {
  const tokenizer = await loadSmallTokenizer()
  const ids = await encodeProblem({ query: 'one', response: ' two'.repeat(900) }, tokenizer, PROTOCOL)
  expect(ids).toHaveLength(768)
  expect(ids).toEqual(
    (await tokenizer.encodeText(`Question: one Think step by step.\nAnswer:${' two'.repeat(900)}`)).slice(0, 768),
  )
})
