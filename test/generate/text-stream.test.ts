import { beforeAll, describe, expect, it } from 'vitest'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import { StopStrings } from '../../lib/generate/stops.js'
import { continuationText, TextStream } from '../../lib/generate/text-stream.js'
import { loadSmallTokenizer } from '../data/tokenizer/small-tokenizer.js'

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

  it('keeps the space between prompt and answer, and omits control tokens', async () => {
    const prompt = await tokenizer.encode('The sea')
    expect(await continuationText(tokenizer, prompt, await tokenizer.encode(' is<|im_end|> wide'))).toBe(' is wide')
  })
})

describe('StopStrings', () => {
  it('holds back a possible beginning of a stop string, and emits it if it is not one', () => {
    const stops = new StopStrings(['###', 'END'])
    expect(stops.push('one ##')).toBe('one ')
    expect(stops.push(' two E')).toBe('## two ')
    expect(stops.push('N')).toBe('')
    expect(stops.found).toBe(false)
    expect(stops.end()).toBe('EN')
  })

  it('ends before the first stop', () => {
    const stops = new StopStrings(['###', 'END'])
    expect(stops.push('an E') + stops.push('ND and ###')).toBe('an ')
    expect(stops.found).toBe(true)
  })
})
