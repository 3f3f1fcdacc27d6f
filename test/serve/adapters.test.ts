/** Adapters come and go while texts are written. */
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
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
