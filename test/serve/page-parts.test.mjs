/** The parts of the page to try models that need no browser. */
import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { Announcer } from '../../lib/serve/page/announcer.js'
import { asCurl } from '../../lib/serve/page/as-code.js'
import { eventsIn } from '../../lib/serve/page/events.js'
import { percent } from '../../lib/serve/page/tokens.js'

describe('events of a stream', () => {
  const read = async (bytes, size) => {
    const places = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => i * size)
    const events = []
    for await (const event of eventsIn(places.map((at) => bytes.subarray(at, at + size)))) events.push(event)
    return events
  }
  const events = [{ text: 'naïve 😀\n\n' }, { text: 'data: [DONE]' }]
  const stream = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')

  it('are the same in whatever pieces they come', async () => {
    const bytes = new TextEncoder().encode(`${stream}data: [DONE]\n\n`)
    for (const size of [1, 2, 7, 1000]) expect(await read(bytes, size)).toEqual(events)
  })

  it('that end too soon are an error', async () => {
    const cut = read(new TextEncoder().encode(stream), 9)
    await expect(cut).rejects.toThrow('The server ended the answer before its end.')
  })
})

it('a screen reader is told sentences, not tokens, and all of them', () => {
  const told = []
  const announcer = new Announcer((text) => told.push(text))
  const sentence = 'Version 2.5 of it is as long as this one, which has some eighty characters. '
  for (const character of sentence.repeat(5)) announcer.push(character)
  announcer.push('The end')
  announcer.end()
  expect(told.join(' ')).toBe(`${sentence.repeat(5)}The end`)
  expect(told.length).toBeLessThan(4)
  expect(told.every((text) => text.endsWith('characters.') || text.endsWith('The end'))).toBe(true)
})

it('a copied request is one argument of a shell, whatever it says', () => {
  const request = { model: 'm', messages: [{ role: 'user', content: '\'; echo "$HOME" `x` \\ \n!!' }] }
  const command = asCurl('http://[::1]:8080/v1/chat/completions', request, true)
  const words = execFileSync('bash', ['-c', `curl() { printf '%s\\0' "$@"; }\n${command}`], {
    env: { LLM_KEY: 'sk' },
    encoding: 'utf8',
  })
  expect(words.split('\0')).toEqual([
    'http://[::1]:8080/v1/chat/completions',
    ...['-H', 'content-type: application/json', '-H', 'authorization: Bearer sk'],
    ...['-d', JSON.stringify(request, null, 2), ''],
  ])
})

it('probabilities are percentages', () => {
  expect([0, Math.log(0.5), Math.log(0.0001), Number.NEGATIVE_INFINITY].map(percent)).toEqual([
    '100.0 %',
    '50.0 %',
    '< 0.1 %',
    '0.0 %',
  ])
})
