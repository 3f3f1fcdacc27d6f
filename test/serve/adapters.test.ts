/** Adapters come and go while texts are written. */
import { once } from 'node:events'
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type MoraError, RunError, UsageError } from '../../lib/common/errors.js'
import type { Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import { newestAdapter } from '../../lib/serve/newest-adapter.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { loadChatTokenizer, startFake } from './fake-writer.js'

let tokenizer: Tokenizer
let fake: Awaited<ReturnType<typeof startFake>>
const folder = useTemporaryFolder()
beforeAll(async () => {
  tokenizer = await loadChatTokenizer()
})
afterEach(() => fake.close())

const messages = [{ role: 'user', content: 'Hi' }]
const names = async () => {
  const { data } = (await (await fetch(`${fake.origin}/v1/models`)).json()) as { data: { id: string }[] }
  return data.map(({ id }) => id)
}
const status = async (path: string, body: object) => (await fake.post(path, body)).status

describe('adapters', () => {
  it('are loaded and dropped by clients where that is allowed', async () => {
    fake = await startFake(tokenizer, { allowLoading: true })
    const load = (more: object = {}) => status('/v1/load_lora_adapter', { lora_name: 'a', lora_path: 'out', ...more })
    expect(await load()).toBe(200)
    expect(await names()).toEqual(['org/tiny', 'a'])
    expect(await load()).toBe(400)
    expect(await load({ load_inplace: true })).toBe(200)
    expect(await load({ lora_name: 'org/tiny', load_inplace: true })).toBe(400)
    expect(await load({ lora_name: '' })).toBe(400)
    expect(await names()).toEqual(['org/tiny', 'a'])
    expect(await status('/v1/chat/completions', { model: 'a', messages })).toBe(200)
    expect(await status('/v1/unload_lora_adapter', { lora_name: 'a' })).toBe(200)
    expect(await status('/v1/unload_lora_adapter', { lora_name: 'a' })).toBe(404)
    expect(await status('/v1/chat/completions', { model: 'a', messages })).toBe(404)
    expect([...fake.writer.model.adapters.keys()]).toEqual([])
  })

  it('are not otherwise', async () => {
    fake = await startFake(tokenizer)
    await fake.server.loadAdapter('a', 'out')
    expect(await status('/v1/load_lora_adapter', { lora_name: 'b', lora_path: 'out' })).toBe(403)
    expect(await status('/v1/unload_lora_adapter', { lora_name: 'a' })).toBe(403)
    expect((await fetch(`${fake.origin}/v1/models/a`, { method: 'DELETE' })).status).toBe(403)
    expect(await names()).toEqual(['org/tiny', 'a'])
  })

  it('that are replaced write what they began', async () => {
    fake = await startFake(tokenizer)
    const { server, writer } = fake
    const { adapters } = writer.model
    await server.loadAdapter('a', 'first')
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    writer.step = () => held
    const running = fake.post('/v1/chat/completions', { model: 'a', messages })
    await expect.poll(() => writer.usage.running).toBe(1)
    await server.loadAdapter('a', 'second', { replace: true })
    const [former, next] = [...adapters.keys()]
    expect([...adapters.values()]).toEqual(['first', 'second'])
    expect(await names()).toEqual(['org/tiny', 'a'])
    writer.step = async () => {}
    await fake.post('/v1/chat/completions', { model: 'a', messages })
    expect(writer.calls.map(({ adapters: used }) => used)).toEqual([[former], [next]])
    release()
    expect(await (await running).json()).toMatchObject({ model: 'a' })
    await expect.poll(() => [...adapters.values()]).toEqual(['second'])
    await server.loadAdapter('a', 'third', { replace: true })
    expect([...adapters.values()]).toEqual(['third'])
    await server.unloadAdapter('a')
    expect([...adapters.values()]).toEqual([])
  })

  it('keep the names that the program has for them', async () => {
    fake = await startFake(tokenizer)
    const { server, writer } = fake
    const { aliases } = writer
    const { adapters } = writer.model
    await server.loadAdapter('a', 'first')
    expect(adapters.get(aliases.get('a')!)).toBe('first')
    await server.loadAdapter('a', 'second', { replace: true })
    expect(adapters.get(aliases.get('a')!)).toBe('second')
    await server.unloadAdapter('a')
    expect([...aliases]).toEqual([])
  })

  it('of the program stay in the model when others take their place', async () => {
    fake = await startFake(tokenizer)
    const { server, writer } = fake
    const { adapters } = writer.model
    adapters.set('a', 'own')
    await expect(server.loadAdapter('a', 'other')).rejects.toThrow('is taken')
    await server.loadAdapter('a', 'other', { replace: true })
    await fake.post('/v1/chat/completions', { model: 'a', messages })
    expect(adapters.get(writer.calls[0]!.adapters![0]!)).toBe('other')
    await server.unloadAdapter('a')
    expect([...adapters]).toEqual([['a', 'own']])
    expect([...writer.aliases]).toEqual([])
    expect(await names()).toEqual(['org/tiny'])
    adapters.set('b', 'own')
    await server.unloadAdapter('b')
    expect([...adapters.keys()]).toEqual(['a', 'b'])
    expect(await names()).toEqual(['org/tiny'])
  })

  it('are public unless a run trains them, or as they are chosen', async () => {
    fake = await startFake(tokenizer)
    const { adapters } = fake.writer.model
    adapters.set('a', 'own')
    adapters.set('b', 'own')
    expect(await names()).toEqual(['org/tiny', 'a', 'b'])
    fake.writer.inTraining.add('b')
    expect(await names()).toEqual(['org/tiny', 'a'])
    expect((await fetch(`${fake.origin}/v1/models/b`)).status).toBe(404)
    expect(await status('/v1/chat/completions', { model: 'b', messages })).toBe(404)
    await fake.server.loadAdapter('b', 'other')
    expect(await names()).toEqual(['org/tiny', 'a', 'b'])
    await fake.close()
    fake = await startFake(tokenizer, { adapters: ['b'] })
    for (const name of ['a', 'b']) fake.writer.model.adapters.set(name, 'own')
    fake.writer.inTraining.add('b')
    expect(await names()).toEqual(['org/tiny', 'b'])
    await fake.server.loadAdapter('c', 'other')
    expect(await names()).toEqual(['org/tiny', 'b', 'c'])
  })

  it('that a run trains are not replaced, and the base is never dropped', async () => {
    fake = await startFake(tokenizer, { allowLoading: true })
    const { server, writer } = fake
    await server.loadAdapter('a', 'first')
    writer.inTraining.add(writer.aliases.get('a')!)
    for (const change of [() => server.loadAdapter('a', 'second', { replace: true }), () => server.unloadAdapter('a')])
      await expect(change()).rejects.toMatchObject({ code: 'in-training' })
    await server.loadAdapter('b', 'second')
    await server.unloadAdapter('b')
    const dropped = await fetch(`${fake.origin}/v1/models/org/tiny`, { method: 'DELETE' })
    expect([dropped.status, await dropped.json()]).toEqual([
      400,
      expect.objectContaining({ error: expect.objectContaining({ message: expect.stringContaining('is the base') }) }),
    ])
    expect(await status('/v1/chat/completions', { model: '', messages })).toBe(200)
  })

  it('have names that can be asked for, and what is missing or out of reach is said so', async () => {
    fake = await startFake(tokenizer, { allowLoading: true })
    const load = (more: object) => status('/v1/load_lora_adapter', { lora_name: 'a', lora_path: 'out', ...more })
    for (const name of ['../x', 'a/../x', '.', 'a/', '/a', 'a//b', 'x'.repeat(129), 'a b'])
      expect(await load({ lora_name: name }), name).toBe(400)
    for (const name of ['a', '.a', 'a..b', 'org/a.b-c_d']) expect(await load({ lora_name: name }), name).toBe(200)
    expect(await load({ lora_name: 'b', lora_path: 'a\0b' })).toBe(400)
    fake.writer.model.loadAdapter = () => Promise.reject(new UsageError('not-an-adapter', 'This is not an adapter.'))
    expect(await load({ lora_name: 'b' })).toBe(404)
    fake.writer.model.loadAdapter = () => Promise.reject(new RunError('hub-unreachable', 'Nobody answers.'))
    expect(await load({ lora_name: 'b' })).toBe(502)
    expect(fake.errors).toEqual([])
  })

  it('of a hub that does not answer keep no others waiting', async () => {
    fake = await startFake(tokenizer)
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const silent = createServer((_, response) => void released.then(() => response.writeHead(404).end()))
    await once(silent.listen(0, '127.0.0.1'), 'listening')
    const { port } = silent.address() as AddressInfo
    vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${port}`)
    vi.stubEnv('HF_HOME', folder())
    vi.stubEnv('HF_HUB_OFFLINE', '0')
    const asked = once(silent, 'request')
    const held = fake.server.loadAdapter('a', 'owner/name').catch((error: MoraError) => error.code)
    await asked
    await fake.server.loadAdapter('b', 'out')
    expect(await names()).toEqual(['org/tiny', 'b'])
    release()
    expect(await held).toBe('repository-not-found')
    silent.close()
    vi.unstubAllEnvs()
  })

  it('that cannot be loaded leave the former one', async () => {
    fake = await startFake(tokenizer)
    const { server, writer } = fake
    await server.loadAdapter('a', 'first')
    const { loadAdapter } = writer.model
    writer.model.loadAdapter = () => Promise.reject(new Error('damaged'))
    await expect(server.loadAdapter('a', 'second', { replace: true })).rejects.toThrow('damaged')
    writer.model.loadAdapter = loadAdapter
    expect([...writer.model.adapters.values()]).toEqual(['first'])
    expect(await status('/v1/chat/completions', { model: 'a', messages })).toBe(200)
  })
})

describe('the newest adapter', () => {
  const at = (...parts: string[]) => join(folder(), ...parts)
  const write = (path: string, seconds: number) => {
    mkdirSync(path, { recursive: true })
    const config = join(path, 'adapter_config.json')
    writeFileSync(config, '{}')
    utimesSync(config, seconds, seconds)
    return path
  }

  it('of any folder is the folder itself', async () => {
    fake = await startFake(tokenizer)
    expect(await newestAdapter(at('none'))).toBe(at('none'))
    expect(await newestAdapter(write(at('adapter'), 1))).toBe(at('adapter'))
    mkdirSync(at('run', 'checkpoints'), { recursive: true })
    expect(await newestAdapter(at('run'))).toBe(at('run'))
  })
})
