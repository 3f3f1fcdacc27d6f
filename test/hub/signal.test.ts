import { getEventListeners } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { CachedRepository } from '../../lib/hub/cache.js'
import { thisProcess } from '../../lib/io/process-identity.js'
import { COMMIT, LARGE, PARTIAL, useOneModel } from './one-model.js'
import { answerWith, sha256 } from './stand-in.js'

const { hub, addModel, open, fetchAll, large, kept } = useOneModel()
const REASON = new Error('enough')

function aborting() {
  const controller = new AbortController()
  return { controller, signal: controller.signal, abort: () => controller.abort(REASON) }
}

test('a download that is aborted ends at once, and the next one goes on with what came', async () => {
  addModel()
  const { signal, abort } = aborting()
  hub().standIn.fail('store', /^GET/, (_, response) => {
    response.writeHead(200, { 'content-length': LARGE.length })
    response.write(LARGE.subarray(0, 100_000))
  })
  const onDownload = ({ doneBytes }: { doneBytes: number }) => void (doneBytes >= 100_000 && abort())
  await expect(fetchAll(undefined, { signal, onDownload })).rejects.toBe(REASON)
  expect(kept()).toContain(PARTIAL)
  expect(kept().filter((name) => name.startsWith('snapshots'))).toEqual([])
  expect(
    hub()
      .namesIn('.locks')
      .filter((name) => name.endsWith('.lock')),
  ).toEqual([])
  expect(hub().waits).toEqual([])
  expect(getEventListeners(signal, 'abort')).toEqual([])
  await fetchAll()
  expect(hub().standIn.requests.at(-1)).toMatchObject({ range: 'bytes=100000-' })
  expect(large().equals(LARGE)).toBe(true)
})

test('nothing is retried once the signal is aborted, and waits end', async () => {
  addModel()
  const { signal, abort } = aborting()
  hub().standIn.fail('hub', /^GET \/api/, answerWith(503), 5)
  const onWarning = () => abort()
  await expect(open('owner/name', { signal, onWarning, pause: undefined })).rejects.toBe(REASON)
  expect(hub().standIn.requests.length).toBe(1)
})

test('a missing answer is not waited for', async () => {
  addModel()
  const { signal, abort } = aborting()
  hub().standIn.fail('hub', /^GET \/api/, () => abort())
  await expect(open('owner/name', { signal })).rejects.toBe(REASON)
})

test('a download of another process is not waited for', async () => {
  addModel()
  const { signal, abort } = aborting()
  const lock = new CachedRepository(hub().cache, { kind: 'model', repository: 'owner/name' }).lock(sha256(LARGE))
  mkdirSync(dirname(lock), { recursive: true })
  writeFileSync(lock, JSON.stringify(thisProcess()))
  const onWarning = (message: string) => {
    expect(message).toMatch(/^Another process downloads/)
    abort()
  }
  await expect(fetchAll(undefined, { signal, onWarning })).rejects.toBe(REASON)
  expect(kept().filter((name) => name.startsWith(join('snapshots', COMMIT)))).toEqual([])
})

test('an already aborted signal sends no request', async () => {
  addModel()
  await expect(open('owner/name', { signal: AbortSignal.abort(REASON) })).rejects.toBe(REASON)
  expect(hub().standIn.requests).toEqual([])
})
