import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { pushWith } from '../../lib/push/push.js'
import { answerWith, type Fault, sha256 } from '../hub/stand-in.js'
import { TOKEN } from '../hub/use-stand-in.js'
import { ADAPTER, LARGE, usePush } from './use-push.js'

const { hub, pushed, folder, write, push } = usePush()

async function refusal(options = {}) {
  const error: unknown = await push(options).catch((error: unknown) => error)
  expect(error).toBeInstanceOf(Error)
  return error as Error & { code: string }
}

test.each([
  ['a question', 'hub', /revision/],
  ['a commit', 'hub', /commit/],
  ['a file', 'store', /^PUT/],
] as const)('an endless answer to %s is not read to its end', async (_, host, pattern) => {
  write(ADAPTER)
  let sent = 0
  const endless: Fault = (request, response) => {
    request.resume()
    const piece = Buffer.alloc(2 ** 20, 0x20)
    const more = () => {
      while (!response.destroyed && response.write(piece)) sent += piece.length
    }
    response.on('drain', more).on('error', () => {})
    more()
  }
  hub().standIn.fail(host, pattern, endless, 9)
  expect(await refusal()).toMatchObject({
    code: 'malformed-file',
    message: expect.stringMatching(/^The answer of http:.* on the .*owner\/name is longer than 67108864 bytes\.$/),
  })
  expect(sent).toBeLessThan(2 ** 28)
  expect(pushed().commits).toEqual([])
})

test.each([
  ['a question', 'hub', /revision/, []],
  ['a commit', 'hub', /commit/, []],
  ['a file', 'store', /^PUT/, [1, 2, 4, 8]],
] as const)('no answer to %s counts as a lost connection after a time', async (_, host, pattern, waits) => {
  write(ADAPTER)
  hub().standIn.fail(host, pattern, (request) => void request.resume(), 9)
  const settings = { ...hub().options.settings, timeout: 100 }
  const options = { path: folder(), repository: 'owner/name' }
  await expect(pushWith(options, { ...hub().options, settings })).rejects.toMatchObject({
    code: 'hub-unreachable',
    message: expect.stringMatching(/cannot be reached for the .*owner\/name: no answer/),
  })
  expect(hub().waits).toEqual(waits)
})

test('an answer that ends in the middle of a long silence is a lost connection', async () => {
  write(ADAPTER)
  hub().standIn.fail('hub', /commit/, (request, response) => {
    request.resume()
    response.write('{"commitOid":')
  })
  const settings = { ...hub().options.settings, timeout: 100 }
  await expect(
    pushWith({ path: folder(), repository: 'owner/name' }, { ...hub().options, settings }),
  ).rejects.toMatchObject({ code: 'hub-unreachable' })
})

test('a hub that requests large files inside the commit is refused before they are read', async () => {
  write(ADAPTER)
  truncateSync(join(folder(), 'adapter_model.safetensors'), 3e9)
  const regular: Fault = (request, response) => {
    request.resume()
    response.end(JSON.stringify({ files: [{ path: 'adapter_model.safetensors', uploadMode: 'regular' }] }))
  }
  hub().standIn.fail('hub', /preupload/, regular)
  expect(await refusal()).toMatchObject({
    code: 'hub-error',
    message:
      'The hub wants 2.79 GiB inside the commit itself, 2.79 GiB of it in "adapter_model.safetensors", but the limit is 128 MiB: this hub does not take large files.',
  })
  expect(hub().standIn.requests.some(({ path }) => path.includes('commit'))).toBe(false)
})

test.each([
  [{}, 'undefined'],
  [{ commitOid: 'a'.repeat(100_000) }, '"a'],
  [{ commitOid: ['a'.repeat(40)] }, '\\["a'],
])('a commit without a well-formed hash is an error: %#', async (answer, shown) => {
  write(ADAPTER)
  hub().standIn.fail('hub', /commit/, (request, response) => {
    request.resume()
    response.end(JSON.stringify(answer))
  })
  const { code, message } = await refusal()
  expect(code).toBe('hub-error')
  expect(message).toMatch(
    new RegExp(`names no commit, but ${shown}.*: see at http:.*/owner/name whether the files have arrived`),
  )
  expect(message.length).toBeLessThan(500)
})

test.each([
  ['revision', 'null'],
  ['preupload', '{}'],
  ['preupload', '{"files": [null]}'],
  ['preupload', '<html>'],
  ['batch', '{}'],
  ['batch', '{"objects": [{}]}'],
  ['commit', 'null'],
])("the runtime's words about an answer are not the message: %s %s", async (where, body) => {
  write(ADAPTER)
  hub().standIn.fail('hub', new RegExp(where), (request, response) => {
    request.resume()
    response.end(body)
  })
  const { code, message } = await refusal()
  expect(code).toBe('hub-error')
  expect(message).not.toMatch(/iterable|undefined|null|JSON|Unexpected|not a function|propert/)
  expect(message).toMatch(/^The hub did not take the model owner\/name: .*\.$/)
})

const encoded = (text: string) => [...Buffer.from(text)].map((byte) => `%${byte.toString(16).toUpperCase()}`).join('')

test.each([
  ['as it is', TOKEN],
  ['with characters as %41', encoded(TOKEN)],
  ['at the place where a message is cut', `${'x'.repeat(190)}${TOKEN}`],
])('the token is in no message if the hub repeats it %s', async (_, said) => {
  write(ADAPTER)
  const asHeader = { 'x-error-message': said }
  const json = { 'content-type': 'application/json' }
  const faults: [string, Fault][] = [
    ['commit', (_, response) => void response.writeHead(403, asHeader).end()],
    ['commit', (_, response) => void response.writeHead(400, json).end(JSON.stringify({ error: said }))],
    [
      'batch',
      (_, response) =>
        void response.end(JSON.stringify({ objects: [{ oid: sha256(LARGE), error: { message: said } }] })),
    ],
  ]
  for (const [where, fault] of faults) {
    hub().standIn.fail('hub', new RegExp(where), fault)
    const error = await refusal()
    const message = inspect(error)
    expect(decodeURIComponent(message)).not.toContain(TOKEN.slice(0, 10))
  }
  hub()
    .standIn.fail('hub', /commit/, answerWith(503))
    .fail('hub', /commit/, answerWith(400, 'Fault', asHeader))
  await refusal()
  expect(hub().warnings.join()).not.toContain(TOKEN)
})
