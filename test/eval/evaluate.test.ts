import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type EvalProgress, evaluate } from '../../lib/eval/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import type { Message } from '../../lib/text/template.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { loadScripted, logProbOf, type Script } from '../generate/scripted-model.js'
import { loadSmallTokenizer, loadTemplate, templatePath } from '../text/tokenizer/small-tokenizer.js'

const chatml = templatePath('chatml')

describe('evaluate', () => {
  let tokenizer: Tokenizer
  const folder = mkdtempSync(join(tmpdir(), 'mora-eval-'))
  beforeAll(async () => {
    tokenizer = await loadSmallTokenizer()
  })
  afterEach(() => vi.restoreAllMocks())
  afterAll(() => rmSync(folder, { recursive: true }))

  const write = (name: string, rows: readonly object[]) => {
    const path = join(folder, name)
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    return path
  }
  const lines = (path: string) =>
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  const plain = async (prompt: string, reply: string): Promise<Script> => ({
    prompt: await tokenizer.encodeText(prompt),
    reply: await tokenizer.encodeContinuation(reply),
  })
  const chat = async (messages: Message[], reply: string): Promise<Script> => ({
    prompt: await tokenizer.encode(
      await (await loadTemplate('chatml', tokenizer)).render(messages, { addGenerationPrompt: true }),
    ),
    reply: await tokenizer.encode(reply),
  })

  /** Mean loss of tokens that the script wants. */
  const meanLoss = (ids: readonly number[]) => -ids.reduce((sum, id) => sum + logProbOf(id, id), 0) / ids.length

  describe('logprobs', () => {
    it('returns each token after the first of every row, several rows in a pass', async () => {
      const known = [7, 8, 9, 10]
      using model = await loadScripted([{ prompt: known.slice(0, 1), reply: known.slice(1) }])
      const data = write('ids.jsonl', [
        { input_ids: known },
        { input_ids: [7, 8, 11], labels: [-100, -100, 11] },
        { input_ids: [5] },
        { prompt: 'a', completion: 'b' },
      ])
      const passes = vi.spyOn(ForwardPasses.prototype, 'tokenLogProbs')
      const { rows } = await evaluate(model, { task: 'logprobs', data, batchSize: 3 })
      expect(rows.map(({ ids }) => ids.length - 1)).toEqual(rows.map(({ logprobs }) => logprobs.length))
      expect(rows[0]!.ids).toEqual(known)
      for (const [i, value] of rows[0]!.logprobs.entries())
        expect(value).toBeCloseTo(logProbOf(known[i + 1]!, known[i + 1]!), 5)
      expect(rows[1]!.logprobs[0]).toBeCloseTo(logProbOf(8, 8), 5)
      expect(rows[1]!.logprobs[1]).toBeCloseTo(logProbOf(11, 9), 5)
      expect(rows[2]).toEqual({ ids: [5], logprobs: [] })
      expect(rows[3]!.ids.at(-1)).toBe(tokenizer.eosId)
      expect(passes.mock.calls.map(([batch]) => batch.rows)).toEqual([3, 1])
    })

    it('reports how many rows max-length cut', async () => {
      const data = write('long.jsonl', [{ input_ids: [5, 6, 7, 8] }, { input_ids: [5, 6] }])
      const warnings: string[] = []
      const onWarning = (message: string) => warnings.push(message)
      using model = await loadScripted([])
      const { rows } = await evaluate(model, { task: 'logprobs', data, maxLength: 3, onWarning })
      expect(rows.map(({ ids }) => ids.length)).toEqual([3, 2])
      expect(warnings).toEqual(['1 row had more than maxLength tokens (the longest 4): 1 lost a part of a turn.'])
    })

    it('reports how many logged calls have no answer to score', async () => {
      const failed = { traceId: 't', type: 'GENERATION', level: 'ERROR', input: 'Hello', output: null }
      const data = write('log.jsonl', [{ input_ids: [5, 6] }, failed])
      const warnings: string[] = []
      const onWarning = (message: string) => warnings.push(message)
      using model = await loadScripted([])
      expect((await evaluate(model, { task: 'logprobs', data, onWarning })).rows).toHaveLength(1)
      expect(warnings).toEqual(['1 logged call was left out (that failed: 1).'])
    })
  })

  describe('perplexity', () => {
    const text = 'The sea is wide and deep and old.'

    it('cuts a text into windows, with BOS by rule and without EOS', async () => {
      const ids = await tokenizer.encodeText(text)
      const data = join(folder, 'sea.txt')
      writeFileSync(data, text)
      // The model knows the text by heart from its first token on, but no window that begins elsewhere.
      using model = await loadScripted([{ prompt: ids.slice(0, 1), reply: ids.slice(1) }])
      const whole = await evaluate(model, { task: 'perplexity', data })
      expect(whole).toMatchObject({ tokens: ids.length, targets: ids.length - 1 })
      expect(whole.loss).toBeCloseTo(meanLoss(ids.slice(1)), 5)
      expect(whole.perplexity).toBeCloseTo(Math.exp(whole.loss), 9)

      const first = await evaluate(model, { task: 'perplexity', data, window: 5, limit: 1 })
      expect(first).toMatchObject({ tokens: 5, targets: 4 })
      const overlapping = await evaluate(model, { task: 'perplexity', data, window: 5, stride: 2 })
      expect(overlapping).toMatchObject({ tokens: ids.length, targets: ids.length - 1 })
      expect(overlapping.perplexity).toBeGreaterThan(whole.perplexity)
    })

    it('of rows, counts their target tokens', async () => {
      const data = write('answers.jsonl', [
        { prompt: 'Say sea.', completion: ' sea' },
        { input_ids: [4, 5, 6], labels: [-100, -100, -100] },
      ])
      const script = await plain('Say sea.', ' sea')
      using model = await loadScripted([script])
      const result = await evaluate(model, { task: 'perplexity', data })
      // The completion and EOS, which the scripted model says after every reply.
      expect(result.targets).toBe(script.reply.length + 1)
      expect(result.tokens).toBe(script.prompt.length + script.reply.length + 1)
      expect(result.perplexity).toBeCloseTo(Math.exp(meanLoss([...script.reply, tokenizer.eosId!])), 5)
    })

    it('refuses windows that the model or the stride does not allow, and data without targets', async () => {
      const data = write('text.jsonl', [{ text }])
      using model = await loadScripted([], { maxPositions: 16 })
      const run = (options: object) => evaluate(model, { task: 'perplexity', data, ...options })
      await expect(run({ window: 17 })).rejects.toThrow(/window of 17 tokens exceeds the model's 16 positions/)
      await expect(run({ stride: 17 })).rejects.toThrow(/stride of 17 tokens exceeds the window of 16/)
      await expect(run({ maxLength: 17 })).rejects.toThrow(/maxLength 17 exceeds/)
      const none = write('none.jsonl', [{ input_ids: [5] }])
      await expect(evaluate(model, { task: 'perplexity', data: none })).rejects.toThrow(/no token is predicted/)
    })
  })

  describe('exact-match', () => {
    it('generates through the template, compares numbers and writes a line per row', async () => {
      const data = write('problems.jsonl', [
        { prompt: '600 + 634?', answer: '1234', completion: 'not read' },
        { prompt: '1 + 1?', answer: 2 },
        { prompt: '2 + 2?', answer: '2 + 2 = 4\n#### 4' },
      ])
      const user = (content: string) => [{ role: 'user', content }]
      using model = await loadScripted([
        await chat(user('600 + 634?'), 'The sum:\n#### $1,234.<|im_end|>'),
        await chat(user('1 + 1?'), 'It is 2.<|im_end|>'),
        await chat(user('2 + 2?'), '\\boxed{4}<|im_end|>'),
      ])
      const output = join(folder, 'deep', 'exact.jsonl')
      const progress: EvalProgress[] = []
      const result = await evaluate(model, {
        task: 'exact-match',
        data,
        template: chatml,
        output,
        onProgress: (now) => progress.push(now),
      })
      expect(result).toEqual({ task: 'exact-match', correct: 2, rows: 3, score: 2 / 3, accuracy: 2 / 3 })
      expect(lines(output)).toEqual([
        {
          prompt: '600 + 634?',
          answer: '1234',
          text: 'The sum:\n#### $1,234.',
          extracted: '$1,234.',
          score: 1,
        },
        { prompt: '1 + 1?', answer: '2', text: 'It is 2.', extracted: null, score: 0 },
        { prompt: '2 + 2?', answer: '4', text: '\\boxed{4}', extracted: '4', score: 1 },
      ])
      expect(progress.map(({ done, total }) => [done, total])).toEqual([
        [1, 3],
        [2, 3],
        [3, 3],
      ])
      expect(await evaluate(model, { task: 'exact-match', data, template: chatml, limit: 1 })).toMatchObject({
        rows: 1,
      })
    })

    it('leaves no half-written output behind, and names the row that is wrong', async () => {
      const data = write('bad.jsonl', [{ prompt: 'a', answer: '1' }, { prompt: 'b' }])
      const output = join(folder, 'bad', 'lines.jsonl')
      using model = await loadScripted([])
      await expect(evaluate(model, { task: 'exact-match', data, output })).rejects.toThrow(
        /bad.jsonl:2: no form of rows has the columns prompt; name the columns by role, as in the option columns: { prompt: /,
      )
      expect(existsSync(output)).toBe(false)
      expect(readdirSync(join(folder, 'bad'))).toEqual([])
    })
  })

  describe('choices', () => {
    const questions = [
      { subject: 'sums', question: '2 + 2?', choices: ['3', '4'], answer: 1 },
      { subject: 'sums', question: '1 + 1?', choices: ['2', '3'], answer: 'A' },
      { subject: 'words', question: 'A fruit?', choices: ['stone', 'apple', 'chair'], answer: 'b' },
    ]

    it('compares letters after a plain prompt', async () => {
      const data = write('choices.jsonl', questions)
      using model = await loadScripted([
        await plain('2 + 2?\nA. 3\nB. 4\nAnswer:', ' B'),
        await plain('1 + 1?\nA. 2\nB. 3\nAnswer:', ' B'),
        await plain('A fruit?\nA. stone\nB. apple\nC. chair\nAnswer:', ' B'),
      ])
      const output = join(folder, 'choices-lines.jsonl')
      const result = await evaluate(model, { task: 'choices', data, output })
      const accuracy = 2 / 3
      const bySubject = { sums: 0.5, words: 1 }
      expect(result).toEqual({ task: 'choices', rows: 3, score: accuracy, accuracy, bySubject })
      const prompt = '2 + 2?\nA. 3\nB. 4\nAnswer:'
      expect(lines(output)[0]).toMatchObject({ prompt, subject: 'sums', answer: 1, predicted: 1, score: 1 })
      expect((lines(output)[2]!.logLikelihoods as number[]).length).toBe(3)
    })

    it('reads a question once if each letter is one token, and returns their log-probabilities', async () => {
      const data = write('one.jsonl', [questions[0]!])
      const ask = [{ role: 'user', content: '2 + 2?\nA. 3\nB. 4\nAnswer:' }]
      const script = await chat(ask, 'B<|im_end|>')
      using model = await loadScripted([script])
      const output = join(folder, 'letters.jsonl')
      const passes = vi.spyOn(ForwardPasses.prototype, 'tokenLogProbs')
      const read = vi.spyOn(ForwardPasses.prototype, 'logProbsOf')
      await evaluate(model, { task: 'choices', data, template: chatml, output })
      expect(passes).not.toHaveBeenCalled()
      expect(read.mock.calls.map(([parts]) => parts.map(({ ids }) => ids.length))).toEqual([[script.prompt.length]])
      const [a, b] = lines(output)[0]!.logLikelihoods as number[]
      const [letterA, letterB] = await Promise.all(['A', 'B'].map((letter) => tokenizer.encode(letter)))
      expect(a).toBeCloseTo(logProbOf(letterA![0]!, letterB![0]!), 5)
      expect(b).toBeCloseTo(logProbOf(letterB![0]!, letterB![0]!), 5)
    })

    it('compares whole choices', async () => {
      const data = write('choices.jsonl', questions)
      using model = await loadScripted([
        await plain('Question: 2 + 2?\nAnswer:', ' 4'),
        await plain('Question: 1 + 1?\nAnswer:', ' 2'),
        await plain('Question: A fruit?\nAnswer:', ' apple'),
      ])
      const result = await evaluate(model, { task: 'choices', data, score: 'text' })
      expect(result).toMatchObject({ accuracy: 1, bySubject: { sums: 1, words: 1 }, perCharacter: 1, perToken: 1 })
    })

    it('shows solved examples of the same subject first, in a chat as turns', async () => {
      const shotsData = write('shots.jsonl', [
        { subject: 'words', question: 'A tree?', choices: ['oak', 'hat'], answer: 'A' },
        questions[0]!,
        { subject: 'sums', question: '3 + 3?', choices: ['6', '7'], answer: 0 },
      ])
      const data = write('one.jsonl', [questions[0]!])
      const expected = await chat(
        [
          { role: 'user', content: '3 + 3?\nA. 6\nB. 7\nAnswer:' },
          { role: 'assistant', content: 'A' },
          { role: 'user', content: '2 + 2?\nA. 3\nB. 4\nAnswer:' },
        ],
        'B<|im_end|>',
      )
      using model = await loadScripted([expected])
      const options = { task: 'choices' as const, data, shots: 1, shotsData }
      expect(await evaluate(model, { ...options, template: chatml })).toMatchObject({ accuracy: 1 })

      using plainModel = await loadScripted([
        await plain('3 + 3?\nA. 6\nB. 7\nAnswer: A\n\n2 + 2?\nA. 3\nB. 4\nAnswer:', ' B'),
      ])
      expect(await evaluate(plainModel, options)).toMatchObject({ accuracy: 1 })
      await expect(evaluate(model, { ...options, shots: 2 })).rejects.toThrow(/has 1 other questions .* "sums", and 2/)
    })

    it('refuses a prompt without a token', async () => {
      const data = [{ input: '', options: ['one', 'two'], gold_index: 0 }]
      using model = await loadScripted([])
      const run = evaluate(model, { task: 'fpb', data })
      await expect(run).rejects.toThrow(/^row 1 of the rows given: the prompt has no token, or is white space alone/)
    })

    it('mmlu names the subject first, and AdaptLLM predicts the highest mean of a token, without BOS', async () => {
      const header = 'The following are multiple choice questions (with answers) about two words.\n\n'
      const prompt = `${header}A fruit?\nA. stone\nB. apple\nAnswer:`
      const mmlu = [{ subject: 'two_words', question: ' A fruit?\n', choices: ['stone', 'apple'], answer: 1 }]
      using model = await loadScripted([await plain(prompt, ' B')])
      const { rows, ...result } = await evaluate(model, { task: 'mmlu', data: mmlu, details: true, template: 'none' })
      expect(rows).toMatchObject([{ prompt, subject: 'two_words', predicted: 1, score: 1 }])
      expect(result).toMatchObject({ accuracy: 1, accuracyBySubject: { two_words: 1 }, meanOfSubjects: 1 })

      // Tokens of the second option are right but for the last, so its sum is lower and its mean higher.
      const news = [{ id: 1, input: 'News:', options: ['t', 'seg'], gold_index: 1 }]
      const reply = await tokenizer.encodeContinuation(' sea')
      using without = await loadScripted([{ prompt: await tokenizer.encode('News:'), reply }])
      expect(await evaluate(without, { task: 'fpb', data: news })).toMatchObject({
        accuracy: 1,
        weightedF1: 1,
        score: 1,
      })
      using withBos = await loadScripted([{ prompt: await tokenizer.encodeText('News:'), reply }])
      const bySum = await evaluate(withBos, { task: 'choices', score: 'text', data: news })
      expect(bySum).toMatchObject({ accuracy: 0, perToken: 1 })
    })

    it('openbookqa continues the stem alone', async () => {
      const stem = 'A fruit is'
      const data = [
        { question_stem: stem, choices: { text: ['a stone', 'an apple'], label: ['A', 'B'] }, answerKey: 'B' },
      ]
      using model = await loadScripted([await plain(stem, ' an apple')])
      const { rows, ...result } = await evaluate(model, { task: 'openbookqa', data, details: true })
      expect(rows).toMatchObject([{ prompt: stem, answer: 1, predicted: 1, perCharacter: 1 }])
      const figures = { score: 1, accuracy: 1, perCharacter: 1, perByte: 1, perToken: 1 }
      expect(result).toEqual({ task: 'openbookqa', ...figures })
    })

    it('refuses solved examples without a part that the task shows', async () => {
      using model = await loadScripted([])
      const data = [{ question: 'Is it?', contexts: ['It is.'], final_decision: 'yes' }]
      const shotsData = [{ question: 'Was it?', choices: ['yes', 'no', 'maybe'], answer: 1 }]
      const run = evaluate(model, { task: 'pubmedqa', data, shots: 1, shotsData })
      await expect(run).rejects.toThrow(/^row 1 of the rows given: this task needs the row's input/)
    })

    it('refuses an answer that names no choice', async () => {
      using model = await loadScripted([])
      for (const answer of [2, 'C', 'apple']) {
        const data = write('odd.jsonl', [{ question: 'q', choices: ['x', 'y'], answer }])
        await expect(evaluate(model, { task: 'choices', data })).rejects.toThrow(
          /odd.jsonl:1: answer: expected an index/,
        )
      }
    })

    it('without subjects, there is no accuracy by subject', async () => {
      const data = write('bare.jsonl', [{ question: 'q', choices: ['x', 'y'], answer: 0 }])
      using model = await loadScripted([])
      expect((await evaluate(model, { task: 'choices', data })).bySubject).toEqual({})
    })
  })

  describe('recall', () => {
    it('compares characters place by place, over as many tokens as the completion has', async () => {
      const data = write('pairs.jsonl', [
        { prompt: 'key:', completion: ' abcd' },
        { prompt: 'other:', completion: ' 1234' },
      ])
      const script = await plain('other:', ' 1294 and more that is not asked for')
      using model = await loadScripted([await plain('key:', ' abcd'), script])
      const output = join(folder, 'recall.jsonl')
      const result = await evaluate(model, { task: 'recall', data, output })
      expect(result).toEqual({ characterAccuracy: 9 / 10, exactAccuracy: 0.5 })
      expect(lines(output)[1]).toMatchObject({ generated: ' 1294', characterAccuracy: 0.8, exact: false })
    })

    it.each(['chatml', 'thinking'])('asks through the template as training does (%s)', async (name) => {
      const data = write('chat-pairs.jsonl', [{ prompt: 'key?', completion: 'abcd 🦊' }])
      const template = await loadTemplate(name, tokenizer)
      const turns = [
        { role: 'user', content: 'key?' },
        { role: 'assistant', content: 'abcd 🦊' },
      ]
      const ids = await tokenizer.encode(await template.render(turns, { addGenerationPrompt: false }))
      using model = await loadScripted([{ prompt: ids.slice(0, 1), reply: ids.slice(1) }])
      const result = await evaluate(model, { task: 'recall', data, template: templatePath(name) })
      expect(result).toEqual({ characterAccuracy: 1, exactAccuracy: 1 })
    })

    it('measures a row of weight 0 as any other', async () => {
      using model = await loadScripted([await plain('key:', ' abcd')])
      const data = [{ prompt: 'key:', completion: ' abcd', weight: 0 }]
      const result = await evaluate(model, { task: 'recall', data })
      expect(result).toEqual({ characterAccuracy: 1, exactAccuracy: 1 })
    })

    it('refuses rows without a completion', async () => {
      const data = write('texts.jsonl', [{ text: 'a' }])
      using model = await loadScripted([])
      await expect(evaluate(model, { task: 'recall', data })).rejects.toThrow(/texts.jsonl:1: recall needs/)
    })
  })

  it('needs a task and data, and refuses options of another task and unknown ones', async () => {
    using model = await loadScripted([])
    const data = write('ids.jsonl', [{ input_ids: [5, 6] }])
    // @ts-expect-error task is required
    await expect(evaluate(model, { data })).rejects.toThrow(/Missing task/)
    // @ts-expect-error data is required
    await expect(evaluate(model, { task: 'recall' })).rejects.toThrow(/Missing data/)
    await expect(evaluate(model, { task: 'recall', data, window: 5 })).rejects.toThrow(/window belongs to the task/)
    const misspelt = { task: 'logprobs' as const, data, bach: 5 }
    await expect(evaluate(model, misspelt)).rejects.toThrow(/Unknown option bach/)
    await expect(evaluate(model, { task: 'logprobs', data: write('empty.jsonl', []) })).rejects.toThrow(/no row/)
  })
})
