import { describe, expect, it } from 'vitest'
import { callsOf, commonPrefix, stretchesOf, varied } from '../../../lib/text/masks/turn-texts.js'
import type { Message } from '../../../lib/text/templates/messages.js'

const assistant = (parts: object): Message => ({ role: 'assistant', ...parts }) as Message

it('a common prefix ends at the first difference, or at the end of a text', () => {
  expect(commonPrefix('abc', 'abd')).toBe(2)
  expect(commonPrefix('ab', 'abc')).toBe(2)
  expect(commonPrefix('abc', 'ab')).toBe(2)
  expect(commonPrefix('ab', 'ab')).toBe(2)
  expect(commonPrefix('', 'a')).toBe(0)
})

describe('varied', () => {
  const contents = (...texts: string[]) =>
    varied(texts.map((content) => assistant({ content }))).map(({ content }) => content)

  it('differs from the first letter on, whichever that is', () => {
    expect(contents('a', 'xylophone', '  x', 'ax')).toEqual(['xa', 'yxylophone', 'y  x', 'xax'])
  })

  it('keeps the messages of others, and empty ones', () => {
    const user: Message = { role: 'user', content: 'q' }
    expect(varied([user, assistant({})])).toStrictEqual([user, assistant({})])
  })

  it('varies parts of a content, thoughts, and the names of calls', () => {
    const message = {
      content: [{ type: 'text', text: 'a' }],
      reasoning_content: 'b',
      thinking: 'c',
      tool_calls: [{ function: { name: 'f', arguments: {} } }, { name: 'x1' }, { id: 3 }, 'text', null, undefined],
    }
    expect(varied([assistant(message)])).toStrictEqual([
      assistant({
        content: [{ type: 'text', text: 'xa' }],
        reasoning_content: 'xb',
        thinking: 'xc',
        tool_calls: [{ function: { name: 'xf', arguments: {} } }, { name: 'yx1' }, { id: 3 }, 'text', null, undefined],
      }),
    ])
    expect(varied([assistant({ content: null })])).toStrictEqual([assistant({ content: undefined })])
    const odd = { content: 'a', reasoning_content: null, thinking: 1, tool_calls: 'f()' }
    expect(varied([assistant(odd)])).toStrictEqual([assistant({ ...odd, content: 'xa' })])
  })
})

it('stretches of a message are its pieces, neighbours in one', () => {
  const pieces = [
    { text: 'ab', message: 0 },
    { text: 'c', message: 0 },
    { text: '--', message: undefined },
    { text: 'd', message: 1 },
    { text: 'e', message: 0 },
  ].map((piece) => ({ ...piece, generated: false }))
  expect(stretchesOf(pieces, 3)).toEqual([
    [
      { start: 0, end: 3 },
      { start: 6, end: 7 },
    ],
    [{ start: 5, end: 6 }],
    [],
  ])
})

it('calls of a message are those with a name', () => {
  const calls = [{ function: { name: 'f' } }, { name: 'g' }, {}, null, { function: { name: 3 } }, { function: {} }]
  expect(callsOf(assistant({ tool_calls: calls }))).toEqual(['f', 'g'])
  expect(callsOf(assistant({ tool_calls: 'f()' }))).toEqual([])
})
