import { getEventListeners } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { pushToHub } from '../../lib/index.js'
import type { PushProgress } from '../../lib/push/push.js'
import { pushWith } from '../../lib/push/push.js'
import { answerWith, type Fault } from '../hub/stand-in.js'
import { TOKEN } from '../hub/use-stand-in.js'
import { ADAPTER, CONFIG, LARGE, usePush } from './use-push.js'

const { hub, pushed, folder, write, push, remote } = usePush()
const OTHER = Buffer.from(LARGE.toReversed())

/** One tensor of no elements. */
function safetensors(): Buffer {
  const header = Buffer.from(JSON.stringify({ w: { dtype: 'F32', shape: [0], data_offsets: [0, 0] } }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return Buffer.concat([length, header])
}

const cardOf = (branch?: string) => String(remote(branch).get('README.md'))
const headOf = (card: string) => parse(card.split('---\n')[1]!)

describe('what is uploaded', () => {
  test('an adapter, in one commit, to a new repository', async () => {
    const card = '# Sums\n\nmora generate --adapter owner/name'
    write({ ...ADAPTER, 'README.md': '# Sums\n\nmora generate --adapter THIS_FOLDER' })
    const result = await push({ private: true })
    expect(result).toEqual({
      repository: 'owner/name',
      revision: 'main',
      commit: expect.stringMatching(/^[0-9a-f]{40}$/),
      url: `${hub().standIn.endpoint}/owner/name`,
      files: 3,
      bytes: LARGE.length + CONFIG.length + card.length,
    })
    expect(pushed().repositories.get('owner/name')?.private).toBe(true)
    expect(remote().get('adapter_model.safetensors')?.equals(LARGE)).toBe(true)
    expect(String(remote().get('adapter_config.json'))).toBe(CONFIG)
    expect(cardOf()).toBe(card)
    expect(pushed().commits).toEqual([
      { branch: 'main', summary: 'Upload adapter with node-mora', files: [...remote().keys()].sort() },
    ])
  })

  const STATE = {
    'checkpoints/step-000001/optimizer.safetensors': 'state',
    'checkpoint-3/trainer_state.json': '{}',
    'merges/1/weights.safetensors': 'w',
    'optimizer.pt': 'state',
    'rng_state_0.pth': 'state',
  }

  test("nothing hidden, and of a run no checkpoint and no optimizer's state", async () => {
    const run = { 'run.yaml': 'a: 1', 'metrics.jsonl': '{}', 'tensorboard/events.out.tfevents.1': 'x' }
    write({ ...ADAPTER, ...STATE, ...run, '.lock': 'x', '.git/config': 'x' })
    await push()
    const kept = ['README.md', ...Object.keys(ADAPTER), ...Object.keys(run)]
    expect([...remote().keys()].sort()).toEqual(kept.sort())
    expect(hub().warnings).toEqual([])
  })

  test('checkpoints on request', async () => {
    write({ ...ADAPTER, ...STATE, '.lock': 'x' })
    await push({ checkpoints: true })
    expect([...remote().keys()].sort()).toEqual([...Object.keys(ADAPTER), ...Object.keys(STATE), 'README.md'].sort())
  })

  test('an adapter without a card gets one that names its base', async () => {
    write(ADAPTER)
    await push()
    expect(headOf(cardOf())).toMatchObject({ base_model: 'owner/base', library_name: 'peft', tags: ['node-mora'] })
    expect(cardOf()).toContain('mora generate --model owner/base --adapter owner/name --prompt')
  })

  test("the repository's own card is left unchanged", async () => {
    write(ADAPTER)
    pushed().add('owner/name', { files: { 'README.md': 'by hand' } })
    await push()
    expect(cardOf()).toBe('by hand')
    expect(remote().has('adapter_config.json')).toBe(true)
  })

  test('a model; of a run that changed all of it, the model comes to the top, and its card names the place', async () => {
    write({ 'model/config.json': '{}', 'model/model.safetensors': safetensors(), 'metrics.jsonl': '{}' })
    write({ 'README.md': 'mora generate --model THIS_FOLDER/model' })
    await push()
    expect([...remote().keys()].sort()).toEqual(['README.md', 'config.json', 'metrics.jsonl', 'model.safetensors'])
    expect(cardOf()).toBe('mora generate --model owner/name')
    await push({ path: join(folder(), 'model'), repository: 'owner/other' })
    const card = String(pushed().filesOf('owner/other').get('README.md'))
    expect(headOf(card)).toEqual({
      library_name: 'transformers',
      pipeline_tag: 'text-generation',
      tags: ['node-mora'],
    })
  })

  test.each<[Record<string, string>, string, string]>([
    [{ 'config.json': '{"architectures":["LlamaForSequenceClassification"]}' }, 'text-classification', 'classify'],
    [
      { 'config.json': '{"architectures":["LlamaForSequenceClassification"],"id2label":{"0":"LABEL_0"}}' },
      'text-classification',
      'reward',
    ],
    [{ 'config.json': '{}', 'modules.json': '[]' }, 'sentence-similarity', 'embed'],
  ])('a model of %j, whose card says what it is for', async (files, tag, task) => {
    write({ ...files, 'model.safetensors': safetensors() })
    await push()
    expect(headOf(cardOf()).pipeline_tag).toBe(tag)
    expect(cardOf()).toContain(`mora eval --model owner/name --task ${task} --data`)
  })

  test('a GGUF file, to a new branch', async () => {
    write({ 'm.Q8_0.gguf': LARGE })
    pushed().add('owner/name')
    const given = { path: join(folder(), 'm.Q8_0.gguf'), revision: 'q8', message: 'Smaller' }
    const { url } = await push(given)
    expect(url).toBe(`${hub().standIn.endpoint}/owner/name/tree/q8`)
    expect(remote('q8').get('m.Q8_0.gguf')?.equals(LARGE)).toBe(true)
    expect(cardOf('q8')).toContain('mora generate --model owner/name/m.Q8_0.gguf')
    expect(remote().size).toBe(0)
    expect(pushed().commits.map(({ summary }) => summary)).toEqual(['Smaller'])
    await push(given)
    expect(hub().standIn.requests.filter(({ path }) => path.includes('/branch/')).length).toBe(1)
  })
})

describe('how it is uploaded', () => {
  const sent = () => hub().standIn.requests.filter(({ host, method }) => host === 'store' && method === 'PUT')

  test('large files in parts', async () => {
    write(ADAPTER)
    pushed().transfer = { chunk: 130_000 }
    await push()
    expect(sent().length).toBe(3)
    expect(remote().get('adapter_model.safetensors')?.equals(LARGE)).toBe(true)
  })

  test('large files in blocks, if the hub stores them so', async () => {
    write(ADAPTER)
    pushed().transfer = 'xet'
    const seen: PushProgress[] = []
    await push({ onProgress: (now) => void seen.push(now) })
    expect(pushed().blocks).toEqual([expect.stringMatching(/^\/v1\/xorbs\/default\//), '/v1/shards'])
    expect(remote().has('adapter_model.safetensors')).toBe(true)
    expect(seen.at(-1)).toMatchObject({ phase: 'uploading', doneBytes: seen[0]!.totalBytes })
  })

  test.each([{ transfer: 'basic' as const }, { transfer: { chunk: 130_000 } }])(
    'progress grows to all bytes: $transfer',
    async ({ transfer }) => {
      write({ ...ADAPTER, 'second.safetensors': OTHER })
      pushed().transfer = transfer
      const seen: PushProgress[] = []
      const { bytes } = await push({ onProgress: (now) => void seen.push(now) })
      for (const phase of ['hashing', 'uploading'] as const) {
        const done = seen.filter((now) => now.phase === phase).map(({ doneBytes }) => doneBytes)
        expect(done).toEqual(done.toSorted((a, b) => a - b))
        expect(done.at(-1)).toBe(phase === 'uploading' ? bytes : 2 * LARGE.length)
      }
      const between = seen.filter(({ phase, doneBytes }) => phase === 'uploading' && doneBytes % LARGE.length !== 0)
      expect(between.length).toBeGreaterThan(1)
      expect(new Set(seen.map(({ totalBytes }) => totalBytes))).toEqual(new Set([bytes]))
    },
  )

  test('the token goes to the hub only', async () => {
    write(ADAPTER)
    await push()
    expect(sent().map(({ authorization }) => authorization)).toEqual([undefined])
    const { requests } = hub().standIn
    const told = new Set(requests.filter(({ host }) => host === 'hub').map(({ authorization }) => authorization))
    expect(told).toEqual(new Set([`Bearer ${TOKEN}`]))
  })

  /** Takes some bytes and breaks the connection. */
  const cut: Fault = (request, response) => void request.once('data', () => response.destroy())

  test('an upload that is cut is retried', async () => {
    write(ADAPTER)
    hub()
      .standIn.fail('store', /^PUT/, cut)
      .fail('hub', /commit/, answerWith(503))
    await push()
    expect(remote().get('adapter_model.safetensors')?.equals(LARGE)).toBe(true)
    expect(hub().waits).toEqual([1, 1])
    expect(hub().warnings[0]).toMatch(
      /^The connection to 127\.0\.0\.1:\d+ was lost while sending the file adapter_model\.safetensors of the model owner\/name: .*; trying again in 1 s\.$/,
    )
  })

  test('a file that vanishes is named, and not tried again', async () => {
    write(ADAPTER)
    const weights = join(folder(), 'adapter_model.safetensors')
    const onProgress = () => rmSync(weights, { force: true })
    await expect(push({ onProgress })).rejects.toThrow(/ENOENT.*adapter_model\.safetensors/)
    expect(hub().waits).toEqual([])
    expect(pushed().commits).toEqual([])
  })

  test('one that is cut again and again fails in a sentence; the next push sends only what is missing', async () => {
    write({ ...ADAPTER, 'second.safetensors': OTHER })
    let first = ''
    hub().standIn.fail(
      'store',
      /^PUT/,
      (request, response, answer) => {
        first ||= request.url!
        if (request.url === first) cut(request, response, answer)
        else answer()
      },
      6,
    )
    await expect(push()).rejects.toMatchObject({
      code: 'upload-cut',
      message: expect.stringMatching(/^The connection to .* was lost while sending the file .* \(5 attempts\)\.$/),
    })
    expect(hub().waits).toEqual([1, 2, 4, 8])
    expect(pushed().commits).toEqual([])
    hub().standIn.mend()
    const before = sent().length
    await push()
    expect(sent().length).toBe(before + 1)
    expect(remote().get('adapter_model.safetensors')?.equals(LARGE)).toBe(true)
    expect(remote().get('second.safetensors')?.equals(OTHER)).toBe(true)
  })

  test('an upload that is aborted ends at once, commits nothing and leaves no listener', async () => {
    write({ ...ADAPTER, 'second.safetensors': OTHER })
    const controller = new AbortController()
    const reason = new Error('enough')
    hub().standIn.fail('store', /^PUT/, (request) => void request.once('data', () => controller.abort(reason)))
    await expect(push({ signal: controller.signal })).rejects.toBe(reason)
    expect(pushed().commits).toEqual([])
    expect(hub().waits).toEqual([])
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })
})

describe('what is refused', () => {
  const refusal = (code: string, message: RegExp) => ({ code, message: expect.stringMatching(message) })

  test('before anything is sent', async () => {
    write(ADAPTER)
    const settings = { ...hub().options.settings }
    const having = (more: object) =>
      pushWith({ path: folder(), repository: 'o/n' }, { settings: { ...settings, ...more } })
    await expect(having({ token: null })).rejects.toMatchObject(refusal('no-token', /HF_TOKEN or "hf auth login"/))
    await expect(having({ token: 'secret' })).rejects.toMatchObject(refusal('bad-token', /begins with hf_/))
    await expect(having({ offline: true })).rejects.toMatchObject(refusal('unfit-options', /offline mode/))
    await expect(push({ path: join(folder(), 'no') })).rejects.toMatchObject(
      refusal('missing-file', /no file or folder ".*no"/),
    )
    await expect(push({ path: join(folder(), 'adapter_config.json') })).rejects.toMatchObject(
      refusal('not-a-model', /a folder or a \.gguf file/),
    )
    rmSync(join(folder(), 'adapter_model.safetensors'))
    await expect(push()).rejects.toMatchObject(refusal('not-an-adapter', /has no adapter_model\.safetensors/))
    rmSync(join(folder(), 'adapter_config.json'))
    await expect(push()).rejects.toMatchObject(
      refusal('not-a-model', /adapter_config\.json, config\.json or a \.gguf file/),
    )
    write({ 'config.json': '{}' })
    await expect(push()).rejects.toMatchObject(refusal('missing-file', /neither model\.safetensors nor/))
    for (const repository of ['name', 'a/b/c', '../b', 'a/b@main']) {
      await expect(push({ repository })).rejects.toMatchObject(
        refusal('bad-value', /Expected a repository as owner\/name for repository/),
      )
    }
    await expect(pushToHub({ path: folder() } as never)).rejects.toMatchObject(
      refusal('missing-option', /^Missing repository/),
    )
    expect(hub().standIn.requests).toEqual([])
  })

  test.each([
    [401, 'GET', 'bad-token', /^The hub does not accept the token \(401\): renew it/],
    [403, 'POST', 'forbidden', /^The hub forbids writing to the model owner\/name \(403\), saying "why"/],
    [404, 'commit', 'repository-not-found', /^There is no model owner\/name at http.* that the token may see\.$/],
    [
      409,
      'commit',
      'push-conflict',
      /^The hub reports a conflict \(409\) for the model owner\/name, saying "why": push again\.$/,
    ],
    [400, 'commit', 'hub-error', /^The hub does not take the model owner\/name \(400\), saying "why"\.$/],
  ])('by the hub: %d', async (status, where, code, message) => {
    write(ADAPTER)
    hub().standIn.fail('hub', new RegExp(where), (_, response) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end('{"error": "why"}')
    })
    const error = await push().catch((error: unknown) => error)
    expect(error).toMatchObject(refusal(code, message))
    expect(String(error)).not.toContain(TOKEN)
    expect(pushed().commits).toEqual([])
  })

  test('by the storage', async () => {
    write(ADAPTER)
    hub().standIn.fail('store', /^PUT/, answerWith(403))
    await expect(push()).rejects.toMatchObject(
      refusal(
        'hub-error',
        /^127\.0\.0\.1:\d+ answered 403 to the file adapter_model\.safetensors of the model .*: push again\.$/,
      ),
    )
  })

  test('an answer that is not from a hub', async () => {
    write(ADAPTER)
    hub().standIn.fail('hub', /revision/, (_, response) => response.end('<html>'))
    await expect(push()).rejects.toMatchObject(
      refusal('hub-error', /^The hub did not take the model owner\/name: its answer is not one of a hub\.$/),
    )
  })

  test('a public repository if a private one is requested', async () => {
    write(ADAPTER)
    pushed().add('owner/name')
    await expect(push({ private: true })).rejects.toMatchObject(
      refusal('unfit-options', /owner\/name, which exists and is public/),
    )
    expect(hub().standIn.requests.map(({ method }) => method)).toEqual(['GET'])
  })

  test('a hub that nobody finds, at once', async () => {
    write(ADAPTER)
    await hub().standIn.stop()
    await expect(push()).rejects.toMatchObject(
      refusal('hub-unreachable', /cannot be reached for the model owner\/name: ECONNREFUSED\.$/),
    )
    expect(hub().waits).toEqual([])
    expect(existsSync(folder())).toBe(true)
  })
})
