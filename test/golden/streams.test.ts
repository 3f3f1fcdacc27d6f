/** Text of tokens as it appears, byte by byte, and the strings that end it. */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { StopStrings } from '../../lib/generate/stops.js'
import { TextStream } from '../../lib/generate/text-stream.js'
import { loadTokenizer, type Tokenizer } from '../../lib/text/tokenizer.js'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { needing } from '../needs.js'
import { goldenJson } from './files.js'

interface Stream {
  name: string
  ids?: number[]
  bytes: number[][]
  emitted: string[]
  flushed: string
  text: string
}

interface Stop {
  name: string
  ids: number[]
  stop: string[]
  minNewTokens?: number
  text: string
  emitted: string[]
  flushed?: string
  consumed: number
  finishReason: string
  stopped?: string
}

const whole = 'golden/sampling/streams.json'
const { cases, stops } = (
  lacksAsset(whole, 'golden data') === null
    ? JSON.parse(readFileSync(assetPath(whole), 'utf8'))
    : goldenJson('sampling/streams.json')
) as { cases: Stream[]; stops: Stop[] }

async function streamed(stream: TextStream, ids: readonly number[]) {
  const emitted: string[] = []
  for (const id of ids) emitted.push(await stream.push(id))
  return { emitted, flushed: await stream.end() }
}

describe('the bytes of tokens become', () => {
  test.each(cases.map((each) => [each.name, each] as const))('%s', async (_, { bytes, emitted, flushed, text }) => {
    const decode = () => Promise.reject(new Error('The bytes say it all.'))
    const tokenBytes = { of: (id: number) => Uint8Array.from(bytes[id]!), dropsSpace: false }
    const got = await streamed(new TextStream({ decode, tokenBytes }, []), [...bytes.keys()])
    expect(got).toEqual({ emitted, flushed })
    expect(got.emitted.join('') + got.flushed).toBe(text)
  })
})

describe('the tokens of SmolLM2', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    if (lacksRealModel === null) tokenizer = (await loadTokenizer(assetPath(REAL_MODEL)))!
  })

  const withIds = cases.filter(({ ids }) => ids)
  needing(lacksRealModel).test.each(withIds.map((each) => [each.name, each] as const))(
    'become %s',
    async (_, { ids, bytes, emitted, flushed, text }) => {
      const shown = ids!.map((id) => (tokenizer.specialIds.has(id) ? [] : [...tokenizer.tokenBytes!.of(id)]))
      expect(shown).toEqual(bytes)
      expect(await streamed(new TextStream(tokenizer, []), ids!)).toEqual({ emitted, flushed })
      expect(await tokenizer.decode(ids!, { skipSpecialTokens: true })).toBe(text)
    },
  )

  needing(lacksRealModel).test.each(stops.map((each) => [each.name, each] as const))('end: %s', async (_, each) => {
    const stream = new TextStream(tokenizer, [])
    const stopStrings = new StopStrings(each.stop, { minNewTokens: each.minNewTokens })
    const emitted: string[] = []
    let finishReason = 'length'
    for (const id of each.ids) {
      const isEnd = id === tokenizer.eosId
      emitted.push(isEnd ? '' : stopStrings.push(await stream.push(id)))
      if (!isEnd && stopStrings.found === undefined) continue
      finishReason = 'stop'
      break
    }
    const flushed = stopStrings.found === undefined ? stopStrings.push(await stream.end()) + stopStrings.end() : ''
    expect({ emitted, flushed, finishReason, consumed: emitted.length, stopped: stopStrings.found }).toEqual({
      emitted: each.emitted,
      flushed: each.flushed ?? '',
      finishReason: each.finishReason,
      consumed: each.consumed,
      stopped: each.stopped,
    })
    expect(emitted.join('') + flushed).toBe(each.text)
  })
})
