import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { type EvaluateOptions, evaluate } from '../../lib/eval/index.js'
import type { Model } from '../../lib/models/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { loadScripted } from '../generate/scripted-model.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'

const folder = useTemporaryFolder()
const REASON = new Error('enough')

let tokenizer: Tokenizer
/** A model that says nothing. */
let silent: Model
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
  silent = await loadScripted([])
})
afterEach(() => vi.restoreAllMocks())
afterAll(() => silent.dispose())

function write(row: object): string {
  const path = join(folder(), 'rows.jsonl')
  writeFileSync(path, `${JSON.stringify(row)}\n`.repeat(6))
  return path
}

const tasks: [EvaluateOptions['task'] & string, object][] = [
  ['logprobs', { text: 'one two' }],
  ['perplexity', { text: 'one two' }],
  ['exact-match', { prompt: 'one', answer: '2' }],
  ['choices', { question: 'one', choices: ['a', 'b'], answer: 0 }],
  ['recall', { prompt: 'one', completion: 'two' }],
]

it.each(tasks)('%s ends between rows, and writes no file', async (task, row) => {
  const before = liveBytes(silent.device)
  const controller = new AbortController()
  const done: number[] = []
  const options = {
    task,
    data: write(row),
    batchSize: 1,
    maxNewTokens: 2,
    template: 'none',
    output: join(folder(), 'lines.jsonl'),
    signal: controller.signal,
    onProgress: (progress: { done: number }) => {
      done.push(progress.done)
      if (progress.done === 2) controller.abort(REASON)
    },
  }
  await expect(evaluate(silent, options)).rejects.toBe(REASON)
  expect(done).toEqual([1, 2])
  expect(readdirSync(folder())).toEqual(['rows.jsonl'])
  expect(liveBytes(silent.device)).toBe(before)
})

it('a long answer ends between two tokens', async () => {
  const prompt = await tokenizer.encodeText('Count:')
  const reply = await tokenizer.encodeContinuation(' one two three four five six seven')
  using model = await loadScripted([{ prompt, reply }])
  const controller = new AbortController()
  const { nextLogitsOf } = ForwardPasses.prototype
  const read = vi.spyOn(ForwardPasses.prototype, 'nextLogitsOf').mockImplementation(function (
    this: ForwardPasses,
    ...call
  ) {
    if (read.mock.calls.length === 3) controller.abort(REASON)
    return nextLogitsOf.apply(this, call)
  })
  const data = [{ prompt: 'Count:', answer: '7' }]
  const options = { task: 'exact-match' as const, data, template: 'none', signal: controller.signal }
  await expect(evaluate(model, options)).rejects.toBe(REASON)
  expect(read).toHaveBeenCalledTimes(3)
})

it('scores of texts that were made elsewhere end between rows', async () => {
  const data = write({ prompt: 'one', text: 'two' })
  const controller = new AbortController()
  let scored = 0
  const score = () => {
    if (++scored === 2) controller.abort(REASON)
    return 1
  }
  const options = { task: 'generate' as const, data, predictions: data, score, signal: controller.signal }
  await expect(evaluate(null, options)).rejects.toBe(REASON)
  expect(scored).toBe(2)
})

it('a signal that is aborted already ends it before data is looked for', async () => {
  const data = join(folder(), 'absent.jsonl')
  const options = { task: 'recall' as const, data, signal: AbortSignal.abort(REASON) }
  await expect(evaluate(silent, options)).rejects.toBe(REASON)
  expect(existsSync(data)).toBe(false)
})
