import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseHubId, Snapshot } from '../../lib/hub/index.js'
import { expectRejection } from '../io/temporary.js'
import { COMMIT, FOLDER, LARGE, SMALL, useOneModel } from './one-model.js'
import { answerWith, commitOf, cutAfter, gitHash, StandIn, sendInstead, sha256 } from './stand-in.js'
import { TOKEN } from './use-stand-in.js'

const { hub, addModel, open, fetchAll, large, kept } = useOneModel()

const offline = () => ({ settings: { ...hub().options.settings, offline: true } })

describe('a snapshot', () => {
  test('lies in the cache as Python’s tools put it: contents by hash, links for each commit, and what main means', async () => {
    addModel()
    const snapshot = await fetchAll()
    expect(snapshot.commit).toBe(COMMIT)
    expect(snapshot.folder).toBe(join(hub().cache, FOLDER, 'snapshots', COMMIT))
    expect(kept()).toEqual(
      [
        `blobs/${gitHash(SMALL)}`,
        `blobs/${sha256(LARGE)}`,
        'refs/main',
        `snapshots/${COMMIT}/config.json`,
        `snapshots/${COMMIT}/deep/large.bin`,
      ].sort(),
    )
    expect(readFileSync(join(hub().cache, FOLDER, 'refs/main'), 'utf8')).toBe(COMMIT)
    expect(readlinkSync(join(snapshot.folder, 'config.json'))).toBe(`../../blobs/${gitHash(SMALL)}`)
    expect(readlinkSync(join(snapshot.folder, 'deep/large.bin'))).toBe(`../../../blobs/${sha256(LARGE)}`)
    expect(large().equals(LARGE)).toBe(true)
    expect(
      hub()
        .namesIn('.locks')
        .filter((name) => name.endsWith('.lock')),
    ).toEqual([])
  })

  test('of a data set lies beside those of models', async () => {
    hub().standIn.add({ kind: 'dataset', id: 'owner/name', files: { 'rows.jsonl': LARGE } })
    const snapshot = await Snapshot.open('dataset', parseHubId('owner/name')!, hub().options)
    await snapshot.fetch(['rows.jsonl'])
    expect(snapshot.folder).toContain('datasets--owner--name')
    expect(readFileSync(join(snapshot.folder, 'rows.jsonl')).equals(LARGE)).toBe(true)
  })

  test('is downloaded once; content that a later commit still has is not downloaded again', async () => {
    addModel()
    await fetchAll()
    await fetchAll()
    expect(hub().standIn.downloads.filter(({ host }) => host === 'store')).toHaveLength(1)
    const other = Buffer.from('{"small": false}')
    addModel(commitOf('second'), { 'config.json': other, 'renamed.bin': LARGE })
    const second = await fetchAll()
    expect(hub().standIn.downloads.filter(({ host }) => host === 'store')).toHaveLength(1)
    expect(readFileSync(join(second.folder, 'renamed.bin')).equals(LARGE)).toBe(true)
    expect(large().equals(LARGE)).toBe(true)
  })

  test('of a known commit needs no further request', async () => {
    addModel()
    await fetchAll(`owner/name@${COMMIT}`)
    const before = hub().standIn.requests.length
    await fetchAll(`owner/name@${COMMIT}`)
    expect(hub().standIn.requests).toHaveLength(before)
  })

  test('of a branch with slashes, or of a tag, is found again under that name', async () => {
    addModel()
    await fetchAll('owner/name@refs/pr/1')
    await fetchAll('owner/name@v1')
    expect(kept()).toEqual(expect.arrayContaining(['refs/refs/pr/1', 'refs/v1']))
    expect((await open('owner/name@refs/pr/1', offline())).commit).toBe(COMMIT)
  })

  test('uses files that other programs have put into the cache', async () => {
    addModel()
    const blobs = join(hub().cache, FOLDER, 'blobs')
    mkdirSync(blobs, { recursive: true })
    writeFileSync(join(blobs, sha256(LARGE)), LARGE)
    writeFileSync(join(blobs, `${sha256(LARGE)}.incomplete`), 'another program is at it')
    await fetchAll()
    expect(hub().standIn.requests.filter(({ host }) => host === 'store')).toEqual([])
    expect(readFileSync(join(blobs, `${sha256(LARGE)}.incomplete`), 'utf8')).toBe('another program is at it')
  })

  test('reports its progress', async () => {
    addModel()
    const seen: [number, number, number][] = []
    await fetchAll(undefined, {
      onDownload: ({ doneBytes, totalBytes, files }) => void seen.push([doneBytes, totalBytes, files]),
    })
    const total = LARGE.length + SMALL.length
    expect(seen.at(-1)).toEqual([total, total, 2])
    const done = seen.map(([bytes]) => bytes)
    expect(done).toEqual(done.toSorted((a, b) => a - b))
  })
})

describe('what the hub refuses', () => {
  const cases: [string, number, string, Record<string, string>, string, RegExp][] = [
    [
      '401 of an unknown repository',
      401,
      'RepoNotFound',
      {},
      'repository-not-found',
      /^"owner\/name" is neither a file or folder here nor a model at http.*HF_TOKEN/,
    ],
    [
      '404 of a repository',
      404,
      'RepoNotFound',
      {},
      'repository-not-found',
      /neither a file or folder here nor a model/,
    ],
    [
      '401 of a token',
      401,
      '',
      { 'x-error-message': 'Invalid credentials in Authorization header' },
      'bad-token',
      /does not accept the token/,
    ],
    [
      '403 of a gated repository',
      403,
      'GatedRepo',
      {},
      'gated-repository',
      /^Access to the model owner\/name must be requested at http:\/\/127\.0\.0\.1:\d+\/owner\/name; /,
    ],
    [
      '404 of a revision',
      404,
      'RevisionNotFound',
      {},
      'revision-not-found',
      /^The model owner\/name has no branch, tag or commit "main"\.$/,
    ],
    [
      '403 with a reason',
      403,
      '',
      { 'x-error-message': 'Storage is locked\u00e9' },
      'forbidden',
      /^The hub forbids the model owner\/name \(403\), saying "Storage is locked": use a token with read access/,
    ],
    ['another status', 418, '', {}, 'hub-error', /^The hub answered 418 when asked for the model owner\/name\.$/],
  ]
  test.each(cases)('%s', async (_, status, code, headers, expected, message) => {
    hub().standIn.fail('hub', /^GET \/api/, answerWith(status, code, headers))
    await expectRejection(open(), expected, message)
    expect(hub().namesIn()).toEqual([])
    expect(hub().waits).toEqual([])
  })

  test('404 of a file', async () => {
    addModel()
    const snapshot = await open()
    await expectRejection(
      snapshot.fetch(['absent.json']),
      'file-not-found',
      /^The model owner\/name has no file "absent\.json" at revision/,
    )
    expect(kept()).toEqual([])
  })

  test('an unknown revision, by the listing', async () => {
    addModel()
    await expectRejection(open('owner/name@v2'), 'revision-not-found', /"v2"/)
  })
})

describe('a busy hub', () => {
  test('429 with Retry-After is waited out', async () => {
    addModel()
    hub().standIn.fail('hub', /^GET \/api/, answerWith(429, '', { 'retry-after': '7' }))
    hub().standIn.fail(
      'hub',
      /^HEAD .*config/,
      answerWith(429, '', { 'retry-after': new Date(Date.now() + 20_000).toUTCString() }),
    )
    await fetchAll()
    expect(hub().waits[0]).toBe(7)
    expect(hub().waits[1]).toBeGreaterThan(15)
    expect(hub().warnings[0]).toBe(
      "The hub's rate limit (429) blocked the request for the model owner/name; trying again in 7 s.",
    )
  })

  test('that asks to wait for an hour is not waited for', async () => {
    hub().standIn.fail('hub', /^GET \/api/, answerWith(429, '', { 'retry-after': '3600' }))
    await expectRejection(open(), 'rate-limited', /it asks to wait 3600 s\.$/)
    expect(hub().waits).toEqual([])
  })

  test.each([500, 502, 503, 504, 408])(
    '%d is tried again, longer and longer apart, and given up at last',
    async (status) => {
      addModel()
      hub().standIn.fail('hub', /^GET \/api/, answerWith(status), 4)
      await open()
      expect(hub().waits).toEqual([1, 2, 4, 8])
      hub().standIn.fail('hub', /^GET \/api/, answerWith(status), 5)
      await expectRejection(open(), 'hub-error', new RegExp(`^The hub failed \\(${status}\\) .* \\(5 attempts\\)\\.$`))
    },
  )

  test('an expired address of the store is requested anew', async () => {
    addModel()
    hub().standIn.fail('store', /^GET/, answerWith(403))
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
    expect(
      hub().standIn.downloads.filter(({ path }) => path.includes('/resolve/') && path.includes('large')),
    ).toHaveLength(2)
  })
})

describe('the token', () => {
  test('goes to the hub, and never to another host that the hub redirects to', async () => {
    addModel()
    await fetchAll()
    const { requests } = hub().standIn
    const sent = (host: string) => new Set(requests.filter((one) => one.host === host).map((one) => one.authorization))
    expect(sent('hub')).toEqual(new Set([`Bearer ${TOKEN}`]))
    expect(sent('store')).toEqual(new Set([undefined]))
  })

  test('is sent again when the hub redirects to itself, as for a renamed repository', async () => {
    addModel()
    hub().standIn.fail(
      'hub',
      /old-name/,
      (request, response) => {
        response.writeHead(307, { location: request.url!.replace('old-name', 'name') })
        response.end()
      },
      100,
    )
    const snapshot = await fetchAll('owner/old-name')
    expect(readFileSync(join(snapshot.folder, 'deep/large.bin')).equals(LARGE)).toBe(true)
    expect(hub().standIn.requests.filter(({ host, authorization }) => host === 'hub' && !authorization)).toEqual([])
  })

  test('does not follow the listing to another host', async () => {
    hub().standIn.fail(
      'hub',
      /^GET \/api/,
      (_, response) => {
        response.writeHead(302, { location: `${hub().standIn.store}/api` })
        response.end()
      },
      5,
    )
    await expect(open()).rejects.toThrow(/answered 403/)
    expect(hub().standIn.requests.find(({ host }) => host === 'store')!.authorization).toBeUndefined()
  })

  test('is in no message, whatever goes wrong', async () => {
    const faults = [401, 403, 404, 418, 429, 500].map((status) => answerWith(status, '', { 'x-error-message': 'no' }))
    for (const fault of faults) {
      hub().standIn.fail('hub', /^GET \/api/, fault, 5)
      const error = await open().catch((reason: Error) => reason)
      expect(String((error as Error).stack) + JSON.stringify(error)).not.toContain(TOKEN)
    }
    expect(hub().warnings.join()).not.toContain(TOKEN)
  })
})

describe('redirects', () => {
  test('in circles come to an end', async () => {
    hub().standIn.fail(
      'hub',
      /./,
      (request, response) => {
        response.writeHead(302, { location: request.url! })
        response.end()
      },
      20,
    )
    await expectRejection(open(), 'hub-error', /redirects in a loop when asked for the model owner\/name/)
  })

  test.each([
    ['file:///etc/passwd', /unsafe address \(file:\)/],
    ['', /redirects without an address/],
  ])('to "%s" are refused', async (location, message) => {
    hub().standIn.fail('hub', /^GET/, (_, response) => {
      response.writeHead(302, { location })
      response.end()
    })
    await expectRejection(open(), 'hub-error', message)
  })
})

describe('a listing', () => {
  test.each(['../outside', '/etc/passwd', 'a/../../b', 'a\\b', ''])('with the path "%s" is refused', async (path) => {
    addModel(COMMIT, { [path]: SMALL })
    await expectRejection(open(), 'malformed-file', /lists the file .*, which is not a path inside the repository/)
    expect(hub().namesIn()).toEqual([])
  })

  test.each([
    'no JSON',
    '{}',
    '[]',
    '{"sha": "../../x", "siblings": []}',
    `{"sha": "${COMMIT}"}`,
    `{"sha": "${COMMIT}", "siblings": [3]}`,
  ])('that is %s is refused', async (text) => {
    hub().standIn.fail('hub', /^GET \/api/, sendInstead(Buffer.from(text)))
    const error = await open().catch((reason: Error & { code?: string }) => reason)
    expect(error).toMatchObject({
      code: expect.stringMatching(/^malformed-/),
      message: expect.stringContaining('the model owner/name'),
    })
  })
})

describe('without the network', () => {
  const unreachable = async () => {
    const gone = await StandIn.start()
    await gone.stop()
    return { settings: { ...hub().options.settings, endpoint: gone.endpoint } }
  }

  test('cached files are used, at the commit of their download', async () => {
    addModel()
    await fetchAll()
    addModel(commitOf('later'))
    const requests = hub().standIn.requests.length
    const snapshot = await fetchAll(undefined, offline())
    expect(snapshot.commit).toBe(COMMIT)
    expect(snapshot.files).toEqual(['config.json', 'deep/large.bin'])
    expect(hub().standIn.requests).toHaveLength(requests)
  })

  test('a commit is found by its hash', async () => {
    addModel()
    await fetchAll(`owner/name@${COMMIT}`)
    expect((await open(`owner/name@${COMMIT}`, offline())).commit).toBe(COMMIT)
  })

  test('a file whose content was removed from the cache is not there, until it is downloaded again', async () => {
    addModel()
    await fetchAll()
    rmSync(join(hub().cache, FOLDER, 'blobs', sha256(LARGE)))
    expect((await open('owner/name', offline())).files).toEqual(['config.json'])
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
  })

  test('a branch that cannot be noted in the cache is used all the same', async () => {
    addModel()
    mkdirSync(join(hub().cache, FOLDER), { recursive: true })
    writeFileSync(join(hub().cache, FOLDER, 'refs'), '')
    await fetchAll()
    expect(large().equals(LARGE)).toBe(true)
  })

  test('files that are not in the cache are refused, with the searched place', async () => {
    await expectRejection(
      open(undefined, offline()),
      'not-cached',
      /^There is nothing at the path "owner\/name", the cache .* has nothing of the model owner\/name at revision main, and nothing is downloaded in offline mode/,
    )
    addModel()
    await (await open()).fetch(['config.json'])
    const snapshot = await open(undefined, offline())
    await expectRejection(snapshot.fetch(['deep/large.bin']), 'not-cached', /has no deep\/large\.bin of the model/)
    await expectRejection(open('owner/name@v1', offline()), 'not-cached', /at revision v1/)
  })

  test('a hub that cannot be reached is replaced by the cache, with a warning', async () => {
    addModel()
    await fetchAll()
    expect((await open(undefined, await unreachable())).commit).toBe(COMMIT)
    expect(hub().warnings).toEqual([
      expect.stringMatching(/ECONNREFUSED\. The cache has it, as of commit [0-9a-f]{40}\.$/),
    ])
    expect(hub().waits).toEqual([])
  })

  test('a hub that cannot be reached is an error where the cache has nothing', async () => {
    await expectRejection(
      open(undefined, await unreachable()),
      'hub-unreachable',
      /^127\.0\.0\.1:\d+ cannot be reached for the model owner\/name: ECONNREFUSED; there is nothing at the path "owner\/name", and the cache has nothing of this name\.$/,
    )
  })

  test('an interrupted update leaves the previous commit usable', async () => {
    addModel()
    await fetchAll()
    const newer = Buffer.from(LARGE).reverse()
    addModel(commitOf('later'), { 'config.json': SMALL, 'deep/large.bin': newer })
    hub().standIn.fail('store', /^GET/, cutAfter(10, newer), 1)
    hub().standIn.fail('store', /^GET/, answerWith(500), 5)
    await expect(fetchAll()).rejects.toThrow(/answered 500/)
    expect((await fetchAll(undefined, offline())).commit).toBe(COMMIT)
    expect(existsSync(join(hub().cache, FOLDER, 'snapshots', commitOf('later')))).toBe(false)
  })
})
