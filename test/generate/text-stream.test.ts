import { beforeAll, describe, expect, it } from 'vitest'
import { drain, textOfTokens } from '../../lib/generate/index.js'
import { StopStrings } from '../../lib/generate/stops.js'
import { continuationText, TextStream } from '../../lib/generate/text-stream.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { AnswerReader } from '../../lib/text/tool-calls/reader.js'
import { loadSmallTokenizer } from '../text/tokenizer/small-tokenizer.js'
import { namedForm } from '../text/tool-calls/tool-cases.js'

describe('TextStream', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await loadSmallTokenizer()
  })

  it('emits whole characters only, and all of the text', async () => {
    const text = 'héllo 🦊 wörld, 日本語 🦊🦊'
    const ids = await tokenizer.encode(text)
    const stream = new TextStream(tokenizer, [])
    const pieces: string[] = []
    for (const id of ids) pieces.push(await stream.push(id))
    expect(pieces.some((piece) => piece === '')).toBe(true)
    for (const piece of pieces) expect(piece).not.toMatch(/\ufffd/)
    expect(pieces.join('') + (await stream.end())).toBe(text)
  })

  it('emits an unfinished character at the end as the tokenizer decodes it', async () => {
    const ids = (await tokenizer.encode('a🦊')).slice(0, -1)
    expect(await continuationText(tokenizer, [], ids)).toBe(await tokenizer.decode(ids))
  })

  it('emits what cannot become a character at once, and U+FFFD itself', async () => {
    const stream = new TextStream(tokenizer, [])
    const fox = (await tokenizer.encode('🦊')).slice(0, 2)
    const pieces: string[] = []
    for (const id of [...fox, ...(await tokenizer.encode('a\ufffd'))]) pieces.push(await stream.push(id))
    expect(pieces.slice(0, fox.length).join('')).toBe('')
    expect(pieces.join('')).toBe('\ufffda\ufffd')
    expect(await stream.end()).toBe('')
  })

  it('completes a character that the prompt began', async () => {
    const ids = await tokenizer.encode('🦊')
    expect(await continuationText(tokenizer, ids.slice(0, 1), ids.slice(1))).toBe('🦊')
  })

  it('is the difference of decoded texts where tokens depend on their neighbours', async () => {
    const words = ['a', '##b', 'c']
    const decode = async (ids: ArrayLike<number>) =>
      Array.from(ids, (id) => ` ${words[id]}`)
        .join('')
        .replaceAll(' ##', '')
        .trim()
    expect(await continuationText({ decode }, [0], [1, 2])).toBe('b c')
  })

  it('keeps the space between prompt and answer, and omits control tokens', async () => {
    const prompt = await tokenizer.encode('The sea')
    expect(await continuationText(tokenizer, prompt, await tokenizer.encode(' is<|im_end|> wide'))).toBe(' is wide')
  })
})

it.each([
  ['<think>Hm.</think>', ' Yes.'],
  ['<think>Hm', ''],
  ['', 'Yes: a < b <th'],
])('counts the tokens of reasoning, tags included: %j, then %j', async (reasoning, content) => {
  const tokenizer = await loadSmallTokenizer()
  const ids = [...(await tokenizer.encode(reasoning)), ...(await tokenizer.encode(content))]
  const tokens = async function* () {
    for (const id of ids) yield { id }
    return 'length' as const
  }
  const reader = new AnswerReader({ form: namedForm('hermes') })
  const request = { tokenizer, ids: [], stopIds: new Set<number>(), stopStrings: [], edits: undefined, reader }
  const { reasoningTokens = 0, newTokens } = await drain(textOfTokens(tokens(), request))
  expect(reasoningTokens).toBe((await tokenizer.encode(reasoning)).length)
  expect(newTokens).toBe(ids.length)
})

describe('StopStrings', () => {
  it('holds back a possible beginning of a stop string, and emits it if it is not one', () => {
    const stops = new StopStrings(['###', 'END'])
    expect(stops.push('one ##')).toBe('one ')
    expect(stops.push(' two E')).toBe('## two ')
    expect(stops.push('N')).toBe('')
    expect(stops.found).toBeUndefined()
    expect(stops.end()).toBe('EN')
  })

  it('names the longest of the strings that begin at one place', () => {
    const stops = new StopStrings(['a', 'ab', 'b'])
    expect(stops.push('xab')).toBe('x')
    expect(stops.found).toBe('ab')
  })

  it('does not search the text of the first tokens', () => {
    const stops = new StopStrings(['ab'], { minNewTokens: 2 })
    expect(['ab', 'a', 'b', 'ab'].map((piece) => stops.push(piece))).toEqual(['ab', 'a', 'b', ''])
  })

  it('returns the stop string where that is asked for', () => {
    const stops = new StopStrings(['END'], { includeStop: true })
    expect(['an E', 'ND and'].map((piece) => stops.push(piece))).toEqual(['an ', 'END'])
  })

  it('ends before the first stop', () => {
    const stops = new StopStrings(['###', 'END'])
    expect(stops.push('an E') + stops.push('ND and ###')).toBe('an ')
    expect(stops.found).toBe('END')
  })
})
