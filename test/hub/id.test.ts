import { describe, expect, test } from 'vitest'
import { formatHubId, mayMean, parseHubId } from '../../lib/hub/index.js'

const ID = { repository: 'owner/name', revision: null, path: null, variant: null }
const COMMIT = 'a'.repeat(40)

describe('a hub id', () => {
  const ids: [string, object][] = [
    ['owner/name', {}],
    ['owner/name@v1.0', { revision: 'v1.0' }],
    [`owner/name@${COMMIT}`, { revision: COMMIT }],
    ['owner/name@refs/pr/12', { revision: 'refs/pr/12' }],
    ['owner/name@feature%2Fx/file.gguf', { revision: 'feature/x', path: 'file.gguf' }],
    ['owner/name/file.gguf', { path: 'file.gguf' }],
    ['owner/name/deep/folder', { path: 'deep/folder' }],
    ['owner/name@refs/convert/parquet/main:test', { revision: 'refs/convert/parquet', path: 'main', variant: 'test' }],
    ['owner/name:Q4_K_M', { variant: 'Q4_K_M' }],
    ['owner/name:main:test', { variant: 'main:test' }],
  ]
  test.each(ids)('%s is read, and written the same way', (text, parts) => {
    const id = { ...ID, ...parts }
    expect(parseHubId(text)).toEqual(id)
    expect(formatHubId(id)).toBe(text)
  })

  test('may have a scheme, as in Python, which also tells it from a file', () => {
    expect(parseHubId('hf://owner/name')).toEqual(ID)
    expect(parseHubId('hf://datasets/owner/name@v1')).toEqual({ ...ID, revision: 'v1' })
    const odd = parseHubId('hf://owner/model.gguf')!
    expect(odd).toEqual({ ...ID, repository: 'owner/model.gguf' })
    expect(formatHubId(odd)).toBe('hf://owner/model.gguf')
  })

  const others = [
    'name',
    './owner/name',
    '../owner/name',
    '/owner/name',
    '~/owner/name',
    'owner/',
    'owner//name',
    'owner/na--me',
    'owner/..',
    '-owner/name',
    'data/train.jsonl',
    'data/train.jsonl.gz',
    'models/model.Q4_1.gguf',
    'owner/name/../../secret',
    'owner/name@../../x',
    'owner/name@a/../b',
    'owner/name@%2e%2e',
    'owner/name@%zz',
    `owner/${'x'.repeat(97)}`,
    '',
  ]
  test.each(others)('is not "%s"', (text) => {
    expect(parseHubId(text)).toBeNull()
  })
})

test('an id may mean a later one of the same repository, unless it names another commit or file', () => {
  const found = parseHubId(`owner/name@${COMMIT}/a.gguf`)!
  const may = (text: string) => mayMean(parseHubId(text)!, found)
  expect(['owner/name', 'owner/name@main', 'owner/name/a.gguf', `owner/name@${COMMIT}`].map(may)).not.toContain(false)
  expect(['owner/other', 'owner/name/b.gguf', `owner/name@${'b'.repeat(40)}`].map(may)).not.toContain(true)
})
