/** Tokenizers that never end, fill the memory or end their process: each is reported in a sentence, and others work on. */
import { ChildProcess, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, vi } from 'vitest'
import { maskChat } from '../../../lib/text/chat-mask.js'
import { tokenizerMebibytes } from '../../../lib/text/isolated/limits.js'
import { ChatTemplate } from '../../../lib/text/template.js'
import { createTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'
import { drawn } from '../../drawn.js'
import { smallTokenizerFolder } from '../tokenizer/small-tokenizer.js'

type Json = Record<string, unknown>

const bpe = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] }

/** A tokenizer of three tokens, with other parts. */
function tokenizerWith(parts: Json = {}): Promise<Tokenizer> {
  const json = { version: '1.0', added_tokens: [], normalizer: null, pre_tokenizer: null, decoder: null, model: bpe }
  return createTokenizer({
    json: { ...json, ...parts },
    config: {},
    specialTokens: {},
    chatTemplates: new Map(),
    origin: 'm',
    files: () => new Map(),
  })
}

const splitting = (pattern: string) =>
  tokenizerWith({ pre_tokenizer: { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false } })
const steps = (step: Json, count: number) => ({
  type: 'Sequence',
  normalizers: Array.from({ length: count }, () => step),
})
const growing = steps({ type: 'Replace', pattern: { String: 'a' }, content: 'aa' }, 60)
const letters = Array.from({ length: 1500 }, (_, i) => ['a'.repeat(i + 1), -i])
const charsmap = (...bytes: number[]) => ({
  type: 'Precompiled',
  precompiled_charsmap: Buffer.from(bytes).toString('base64'),
})

const FAULT =
  /^The tokenizer of m cannot .*: one of its regular expressions backtracks too much, or .* \(its process ended: SIGABRT\)\.$/
const TOO_MUCH = /^The tokenizer of m cannot encode this text: it takes too much (time|memory) \(its process ended: SIG/

it('a long text may take no more than what the machine has', () => {
  expect(tokenizerMebibytes(2000, 4000)).toBe(514)
  expect(tokenizerMebibytes(100_000_000, 4000)).toBe(3000)
})

describe('a hostile tokenizer ends with a sentence', () => {
  const cases: [string, () => Promise<unknown>, RegExp][] = [
    ['a pattern that tries all ways', async () => (await splitting('(a+)+b')).encode('a'.repeat(60)), FAULT],
    ['one with a look behind', async () => (await splitting('(?:a|aa|aaa)+(?<!a)c')).encode('a'.repeat(60)), FAULT],
    [
      'one of a normalizer',
      async () =>
        (await tokenizerWith({ normalizer: { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' } })).encode(
          `${'a'.repeat(60)}c`,
        ),
      FAULT,
    ],
    [
      'one of a decoder',
      async () =>
        (
          await tokenizerWith({
            decoder: { type: 'Replace', pattern: { Regex: '(a+)+b' }, content: '' },
            model: { type: 'BPE', vocab: { ['a'.repeat(60)]: 0 }, merges: [] },
          })
        ).decode([0]),
      FAULT,
    ],
    ['a text that grows', async () => (await tokenizerWith({ normalizer: growing })).encode('aa'), TOO_MUCH],
    [
      'tokens of many lengths',
      async () =>
        (await tokenizerWith({ model: { type: 'Unigram', unk_id: 0, vocab: letters } })).encode('a'.repeat(100_000)),
      TOO_MUCH,
    ],
    [
      'pieces without a length',
      async () => (await tokenizerWith({ pre_tokenizer: { type: 'FixedLength', length: 0 } })).encode('ab'),
      FAULT,
    ],
    [
      'a decoder that strips more than there is',
      async () => (await tokenizerWith({ decoder: { type: 'Strip', content: 'a', start: 9, stop: 9 } })).decode([0]),
      FAULT,
    ],
    ['no table of characters', () => tokenizerWith({ normalizer: charsmap(1, 2) }), FAULT],
    [
      'a table that points outside',
      async () =>
        (await tokenizerWith({ normalizer: charsmap(8, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 97) })).encode(
          'é',
        ),
      FAULT,
    ],
    [
      'merges shorter than their prefix',
      () => tokenizerWith({ model: { ...bpe, continuing_subword_prefix: '####' } }),
      FAULT,
    ],
  ]
  it.each(drawn('hostile tokenizers', cases, 3))('%s', async (_, use, sentence) => {
    await expect(use()).rejects.toMatchObject({
      code: 'tokenizer-failed',
      message: expect.stringMatching(sentence),
    })
  })

  it('or works, where Rust is fast: many steps, long added tokens, merges that collide', async () => {
    const prepending = await tokenizerWith({ normalizer: steps({ type: 'Prepend', prepend: 'x' }, 20_000) })
    expect(await prepending.encode('ab')).toEqual([2])
    const added = Array.from({ length: 300 }, (_, i) => ({
      id: 3 + i,
      content: String(i).padEnd(4000, 'x'),
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    }))
    expect(await (await tokenizerWith({ added_tokens: added })).encode(`a${added[7]!.content}`)).toEqual([0, 10])
    // Pairs of ids that a hash of 32 bits maps to few places.
    const symbols = Array.from({ length: 20_000 }, (_, i) => String.fromCodePoint(0x20000 + i))
    const pairs = symbols.slice(1).map((symbol, i) => [symbols[i]!, symbol] as const)
    const vocab = Object.fromEntries([...symbols, ...pairs.map(([a, b]) => a + b)].map((token, id) => [token, id]))
    const colliding = await tokenizerWith({ model: { type: 'BPE', vocab, merges: pairs } })
    expect(await colliding.encode(symbols.slice(0, 4).join(''))).toHaveLength(2)
  })
})

const lib = fileURLToPath(new URL('../../../dist/text/tokenizer.js', import.meta.url))

/** The output of a program that loads the small tokenizer and encodes a text with it. */
function said(env: object, before = ''): string {
  const code = `${before}
    const { loadTokenizer } = await import(${JSON.stringify(lib)})
    const load = async () => (await loadTokenizer(${JSON.stringify(smallTokenizerFolder)})).encode('river')
    console.log(await load().then(String, (error) => error.code + ': ' + error.message))`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
  return stdout
}

describe('a system', () => {
  it('for which the library has no binary is reported', () => {
    // The variable that makes the library load another binary.
    expect(said({ NAPI_RS_NATIVE_LIBRARY_PATH: '/absent' })).toMatch(
      /^no-tokenizer-library: The package tokenizers cannot be loaded on linux \w+, and text needs it; rows of input_ids do not\./,
    )
  })

  it('that cannot start a process encodes in the current one', () => {
    const refusing = `import childProcess from 'node:child_process'
      import { syncBuiltinESMExports } from 'node:module'
      childProcess.fork = () => { throw new Error('not allowed') }
      syncBuiltinESMExports()`
    expect(said({}, refusing)).toBe(said({}))
    expect(said({}, refusing)).toMatch(/^\d+(,\d+)*\n$/)
  })
})

/** Returns the ids of the processes that this one has for templates and tokenizers. */
function processes(): number[] {
  const tasks = readdirSync('/proc/self/task')
  const children = tasks.flatMap((task) => readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' '))
  const isOurs = (pid: string) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('isolated/process')
  return children.filter((pid) => pid !== '' && isOurs(pid)).map(Number)
}

describe('a process with tokenizers', () => {
  it('answers each of many requests, whichever of them ends it', async () => {
    const [good, bad] = [await tokenizerWith(), await splitting('(a+)+b|x')]
    const asked = Array.from({ length: 60 }, (_, i) => {
      if (i === 20) return bad.encode('a'.repeat(60))
      return i % 3 === 0 ? good.decode([2]) : (i % 3 === 1 ? good : bad).encode('xab'.slice(i % 3 === 1 ? 1 : 0))
    })
    const answers = await Promise.allSettled(asked)
    expect(answers.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []))).toEqual([20])
    for (const [i, answer] of answers.entries()) {
      if (i !== 20) expect(answer).toMatchObject({ value: i % 3 === 0 ? 'ab' : [2] })
    }
  })

  it('masks each of many conversations, whichever of them a template or a tokenizer cannot end', async () => {
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false }
    const bad = await tokenizerWith({
      added_tokens: [{ ...plain, id: 3, content: '<e>', special: true }],
      pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+b|x' }, behavior: 'Isolated', invert: false },
    })
    const template = new ChatTemplate({
      source:
        '{% for m in messages %}{% if m.content == "endless" %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}{{ m.content }}<e>{% endfor %}',
      specialTokens: {},
      origin: 'template',
    })
    const contents = Array.from({ length: 60 }, (_, i) => (i === 20 ? 'endless' : i === 40 ? 'a'.repeat(60) : 'ab'))
    const answers = await Promise.allSettled(
      contents.map((content, i) => maskChat(bad, template, [{ role: 'assistant', content }], `row ${i}`)),
    )
    expect(answers[20]).toMatchObject({
      reason: { message: expect.stringMatching(/^The chat template of template takes more time than 3 s/) },
    })
    expect(answers[40]).toMatchObject({ reason: { message: expect.stringMatching(FAULT) } })
    for (const [i, answer] of answers.entries()) {
      if (i === 20 || i === 40) continue
      expect(answer).toMatchObject({ value: { ids: Int32Array.of(2, 3), mask: Uint8Array.of(1, 1) } })
    }
  })

  it('ends the waiting for a tokenizer that does not end when a signal says so', async () => {
    const slow = await tokenizerWith({ model: { type: 'Unigram', unk_id: 0, vocab: letters } })
    const start = performance.now()
    const signal = AbortSignal.timeout(300)
    await expect(slow.encode('a'.repeat(100_000), signal)).rejects.toThrow(/timeout/)
    expect(performance.now() - start).toBeLessThan(2000)
    expect(await slow.encode('aa')).toHaveLength(1)
  })

  it('is tried again if something else ends it', async () => {
    const tokenizer = await tokenizerWith()
    for (let round = 0; round < 3; round++) {
      const answers = Promise.all(Array.from({ length: 300 }, () => tokenizer.encode('ab'.repeat(50))))
      await setTimeout(5 * round)
      for (const pid of processes()) process.kill(pid, 'SIGKILL')
      expect((await answers).every((ids) => ids.length === 50)).toBe(true)
    }
  })

  it('answers those who stay, whoever leaves', async () => {
    const tokenizer = await tokenizerWith()
    const slow = await tokenizerWith({ model: { type: 'Unigram', unk_id: 0, vocab: letters } })
    for (let i = 0; i < 50; i++) {
      const left = new AbortController()
      const aborted = Array.from({ length: 4 }, (_, n) =>
        (n === 0 && i % 25 === 0 ? slow : tokenizer).encode('a'.repeat(n === 0 ? 50_000 : 9), left.signal),
      )
      const settled = Promise.allSettled(aborted)
      const others = i % 2 === 0 ? [] : [tokenizer.encode('ab')]
      await setTimeout(i % 3)
      left.abort(new Error('left'))
      others.push(tokenizer.encode('ab'))
      expect(await Promise.all(others)).toEqual(others.map(() => [2]))
      for (const one of await settled) if (one.status === 'rejected') expect(one.reason.message).toBe('left')
    }
  })

  it('rejects who leaves between the signal that ends the process and its end', async () => {
    const slow = await tokenizerWith({ model: { type: 'Unigram', unk_id: 0, vocab: letters } })
    await slow.encode('ab')
    const [stuck, late] = [new AbortController(), new AbortController()]
    const asked = [stuck, late].map(({ signal }) => slow.encode('a'.repeat(100_000), signal))
    const settled = Promise.allSettled(asked)
    const { kill } = ChildProcess.prototype
    const killing = vi.spyOn(ChildProcess.prototype, 'kill').mockImplementation(function (this: ChildProcess, signal) {
      late.abort(new Error('late'))
      return kill.call(this, signal)
    })
    try {
      await setTimeout(50)
      stuck.abort(new Error('stuck'))
      expect(await settled).toMatchObject([{ reason: { message: 'stuck' } }, { reason: { message: 'late' } }])
      expect(killing).toHaveBeenCalledOnce()
    } finally {
      killing.mockRestore()
    }
  })

  it('takes small texts before large ones of others', async () => {
    const tokenizer = await tokenizerWith()
    const [hog, guest] = [new AbortController().signal, new AbortController().signal]
    const ended: string[] = []
    const large = Array.from({ length: 40 }, async () => {
      await tokenizer.encode('ab'.repeat(50_000), hog)
      ended.push('large')
    })
    await Promise.all([tokenizer.encode('ab'), setTimeout(5)])
    await tokenizer.encode('ab', guest).then(() => ended.push('small'))
    await Promise.all(large)
    expect(ended.indexOf('small')).toBeLessThan(30)
  })

  it('gives one text that has no tokens an error of its own', async () => {
    const unigram = await tokenizerWith({ model: { type: 'Unigram', unk_id: null, vocab: [['a', -1]] } })
    const answers = await Promise.allSettled(['a', '你', 'aa'].map((text) => unigram.encode(text)))
    expect(answers).toMatchObject([
      { value: [0] },
      {
        reason: {
          code: 'malformed-tokenizer',
          message: expect.stringMatching(/^The tokenizer of m cannot encode this text/),
        },
      },
      { value: [0, 0] },
    ])
  })
})
