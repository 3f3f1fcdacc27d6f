import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { expectRejection } from '../io/temporary.js'
import { COMMIT, FOLDER, LARGE, PARTIAL, SMALL, useOneModel } from './one-model.js'
import { cutAfter, gitHash, sendInstead, sha256 } from './stand-in.js'

const { hub, addModel, open, fetchAll, large, kept } = useOneModel()

describe('a connection that is cut', () => {
  test('is made again, and the download goes on where it was', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, cutAfter(100_000, LARGE), 2)
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    const store = hub().standIn.requests.filter(({ host }) => host === 'store')
    expect(store.map(({ range }) => range)).toEqual([undefined, 'bytes=100000-', 'bytes=200000-'])
    expect(hub().waits).toEqual([1, 1])
    expect(hub().warnings[0]).toMatch(
      /^The connection .* deep\/large\.bin of the model owner\/name.*; trying again in 1 s\.$/,
    )
  })

  test('five times in a row without a byte is an error; the received part is kept, and continued later', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, cutAfter(50_000, LARGE))
    hub().standIn.fail('store', /^GET/, cutAfter(0, LARGE), 4)
    await expectRejection(
      fetchAll(),
      'download-cut',
      /\(5 attempts\); what arrived \(48\.8 KiB of 293 KiB\) is kept; the same command resumes from there\.$/,
    )
    expect(hub().waits).toEqual([1, 2, 4, 8])
    expect(kept()).toEqual([PARTIAL, `blobs/${gitHash(SMALL)}`].sort())
    await fetchAll()
    expect(hub().standIn.requests.at(-1)).toMatchObject({ host: 'store', range: 'bytes=50000-' })
    expect(large().equals(LARGE)).toBe(true)
    expect(kept()).not.toContain(PARTIAL)
  })

  test('counts as one when nothing comes for too long', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, (_, response) => {
      response.writeHead(200, { 'content-length': LARGE.length })
      response.write(LARGE.subarray(0, 1000))
    })
    hub().standIn.fail('hub', /^HEAD .*config/, () => {})
    await fetchAll(undefined, { settings: { ...hub().options.settings, timeout: 300 } })
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings.join()).toMatch(
      /cannot be reached for the file config\.json of the model owner\/name: no answer/,
    )
  })

  test('while the listing comes is made again', async () => {
    addModel()
    hub().standIn.fail('hub', /^GET \/api/, cutAfter(10, Buffer.alloc(100, 32)))
    expect((await open()).files).toHaveLength(2)
  })

  test('when the server cannot send the rest, the file is downloaded from its start', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, cutAfter(100_000, LARGE))
    hub().standIn.fail('store', /^GET/, sendInstead(LARGE))
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
  })

  test('when the server sends a part other than requested, the file is downloaded from its start', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, cutAfter(100_000, LARGE))
    hub().standIn.fail('store', /^GET/, (_, response) => {
      response.writeHead(206, { 'content-range': `bytes 5-9/${LARGE.length}`, 'content-length': 5 })
      response.end('wrong')
    })
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings.at(-1)).toMatch(/^The hub cannot resume at byte 100000 of the file deep\/large\.bin/)
  })

  test('is not the same as a slow one', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, (_, response) => {
      response.writeHead(200, { 'content-length': LARGE.length })
      const sendFrom = (start: number) => {
        response.write(LARGE.subarray(start, start + 50_000))
        if (start + 50_000 < LARGE.length) setTimeout(sendFrom, 100, start + 50_000)
        else response.end()
      }
      sendFrom(0)
    })
    await fetchAll(undefined, { settings: { ...hub().options.settings, timeout: 400 } })
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings).toEqual([])
  })
})

describe('content that is not what its hash says', () => {
  const wrong = Buffer.from(LARGE)
  wrong[1234]! ^= 1

  test('is downloaded again, once', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, sendInstead(wrong))
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings).toEqual(['deep/large.bin arrived damaged; downloading it again.'])
  })

  test('is refused the second time, and nothing of it stays', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, sendInstead(wrong), 2)
    await expectRejection(fetchAll(), 'damaged-download', /^deep\/large\.bin arrived damaged twice/)
    expect(kept()).toEqual([`blobs/${gitHash(SMALL)}`])
  })

  test('is noticed in small files too', async () => {
    addModel(COMMIT, { 'config.json': SMALL })
    hub().standIn.fail('hub', /^GET .*config/, sendInstead(Buffer.from('{"small": fals}')), 2)
    await expectRejection(fetchAll(), 'damaged-download', /config\.json arrived damaged twice/)
    expect(kept()).toEqual([])
  })

  test('in a part that an earlier attempt left is noticed at the end', async () => {
    addModel()
    mkdirSync(join(hub().cache, FOLDER, 'blobs'), { recursive: true })
    writeFileSync(join(hub().cache, FOLDER, PARTIAL), wrong.subarray(0, 2000))
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings).toEqual(['deep/large.bin arrived damaged; downloading it again.'])
  })

  test('a part that is the whole file is not requested again', async () => {
    addModel()
    mkdirSync(join(hub().cache, FOLDER, 'blobs'), { recursive: true })
    writeFileSync(join(hub().cache, FOLDER, PARTIAL), LARGE)
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().standIn.downloads.filter(({ host }) => host === 'store')).toEqual([])
  })

  test('a part that is longer than the file is thrown away', async () => {
    addModel()
    mkdirSync(join(hub().cache, FOLDER, 'blobs'), { recursive: true })
    writeFileSync(join(hub().cache, FOLDER, PARTIAL), Buffer.alloc(LARGE.length + 1))
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings).toEqual([])
  })

  test('more bytes than announced are not written', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, sendInstead(Buffer.concat([LARGE, SMALL])))
    await expectRejection(fetchAll(), 'damaged-download', /sends more than the 300000 bytes that deep\/large\.bin has/)
    expect(kept()).toEqual([`blobs/${gitHash(SMALL)}`])
  })

  test('fewer bytes than announced are a cut connection', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, sendInstead(LARGE.subarray(0, 10)))
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(hub().warnings[0]).toMatch(/^The connection ended at byte 10 of 300000 of the file deep\/large\.bin/)
  })

  test('a file whose hash the hub does not tell is refused', async () => {
    addModel(COMMIT, { 'config.json': SMALL })
    hub().standIn.fail('hub', /^HEAD/, (_, response) => {
      response.writeHead(200, { etag: '"5f-../../x"', 'content-length': SMALL.length })
      response.end()
    })
    await expectRejection(fetchAll(), 'hub-error', /gives no hash or no size for the file config\.json/)
  })
})

describe('the disk', () => {
  test('is checked for space before anything is downloaded', async () => {
    addModel(COMMIT, { 'config.json': SMALL })
    hub().standIn.fail('hub', /^HEAD/, (_, response) => {
      response.writeHead(302, {
        'x-linked-etag': sha256(LARGE),
        'x-linked-size': String(2 ** 49),
        location: hub().standIn.store,
      })
      response.end()
    })
    await expectRejection(fetchAll(), 'disk-full', /^The model owner\/name takes 512 TiB, but only .* are free in /)
    expect(hub().standIn.downloads).toEqual([])
    expect(kept()).toEqual([])
  })

  test('that is full after all ends the download, and nothing of it stays', async () => {
    addModel()
    mkdirSync(join(hub().cache, FOLDER, 'blobs'), { recursive: true })
    // Every write to this device fails for want of space.
    symlinkSync('/dev/full', join(hub().cache, FOLDER, PARTIAL))
    await expectRejection(fetchAll(), 'disk-full', /^deep\/large\.bin in .* could not be written: the disk is full\.$/)
    expect(kept()).toEqual([`blobs/${gitHash(SMALL)}`])
  })

  test('where the cache cannot be made is named', async () => {
    addModel()
    writeFileSync(join(hub().cache, 'file'), '')
    const settings = { ...hub().options.settings, cache: join(hub().cache, 'file') }
    await expectRejection(fetchAll(undefined, { settings }), 'write-failed', /could not be written: ENOTDIR/)
  })
})

test('many downloads that are cut at random places end with the right bytes', async () => {
  const random = randomStream(5, 'cuts')
  const files = Object.fromEntries(
    Array.from({ length: 12 }, (_, i) => [`part-${i}.bin`, Buffer.from(LARGE.map((byte) => byte ^ i)).subarray(i)]),
  )
  addModel(COMMIT, files)
  for (let i = 0; i < 60; i++) {
    const share = random.uniform()
    hub().standIn.fail('store', /^GET/, (request, response) => {
      const bytes = Object.values(files).find((content) => request.url!.includes(sha256(content)))!
      cutAfter(1 + Math.floor(share * 150_000), bytes)(request, response, () => {})
    })
  }
  const snapshot = await fetchAll()
  for (const [name, content] of Object.entries(files)) {
    expect(readFileSync(join(snapshot.folder, name)).equals(content), name).toBe(true)
  }
})
