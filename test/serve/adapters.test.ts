/** Adapters come and go while texts are written. */
import { once } from 'node:events'
import { cpSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type MoraError, RunError } from '../../lib/common/errors.js'
import { generate, TextEngine } from '../../lib/generate/index.js'
import type { Model } from '../../lib/models/index.js'
import { newestAdapter, ServedAdapters } from '../../lib/serve/served-adapters.js'
import { quickFolder, useTemporaryFolder } from '../io/temporary.js'
import { addRandomAdapter, hold, startServer, tinyModel, watchTexts } from './tiny-server.js'

let model: Model
let started: Awaited<ReturnType<typeof startServer>>
/** Folders of adapters by name, and the texts that the model writes with them. */
const paths: Record<string, string> = {}
const said = new Map<string, string>()
const written = quickFolder()
const folder = useTemporaryFolder()
const asked = watchTexts()
beforeAll(async () => {
  model = await tinyModel()
  for (const [seed, name] of ['first', 'second', 'third', 'own'].entries()) {
    await addRandomAdapter(model, name, seed)
    paths[name] = join(written, name)
    await model.saveAdapter(name, paths[name])
    said.set(await textWith(name), name)
    model.removeAdapter(name)
  }
  expect(said.size).toBe(4)
})
afterEach(async () => {
  await started.close()
  asked.mockClear()
  for (const name of model.adapters.keys()) model.removeAdapter(name)
})
afterAll(() => {
  model.dispose()
  rmSync(written, { recursive: true })
})

const messages = [{ role: 'user', content: 'Hi' }]
const chat = { messages, max_tokens: 8, temperature: 0 }
const CHAT = '/v1/chat/completions'

async function textWith(...adapters: string[]): Promise<string> {
  return (await generate(model, { messages, maxNewTokens: 8, adapters })).text
}
/** Adapters that are in the model, by their names there. */
async function inModel(): Promise<Record<string, string | undefined>> {
  const entries = [...model.adapters.keys()].map(async (name) => [name, said.get(await textWith(name))] as const)
  return Object.fromEntries(await Promise.all(entries))
}
const addOwn = (name: string) => addRandomAdapter(model, name, 3)

const names = async () => {
  const { data } = (await (await fetch(`${started.origin}/v1/models`)).json()) as { data: { id: string }[] }
  return data.map(({ id }) => id)
}
interface Answer {
  model: string
  choices: { message: { content: string } }[]
}
const answerOf = async (body: object) => (await (await started.post(CHAT, body)).json()) as Answer
const status = async (path: string, body: object) => (await started.post(path, body)).status

describe('adapters', () => {
  it('are loaded and dropped by clients where that is allowed', async () => {
    started = await startServer(model, { allowLoading: true })
    const load = (more: object = {}) =>
      status('/v1/load_lora_adapter', { lora_name: 'a', lora_path: paths.first, ...more })
    expect(await load()).toBe(200)
    expect(await names()).toEqual(['org/tiny', 'a'])
    expect(await load()).toBe(400)
    expect(await load({ load_inplace: true })).toBe(200)
    expect(await load({ lora_name: 'org/tiny', load_inplace: true })).toBe(400)
    expect(await load({ lora_name: '' })).toBe(400)
    expect(await names()).toEqual(['org/tiny', 'a'])
    expect(await status(CHAT, { ...chat, model: 'a' })).toBe(200)
    expect(await status('/v1/unload_lora_adapter', { lora_name: 'a' })).toBe(200)
    expect(await status('/v1/unload_lora_adapter', { lora_name: 'a' })).toBe(404)
    expect(await status(CHAT, { ...chat, model: 'a' })).toBe(404)
    expect([...model.adapters.keys()]).toEqual([])
  })

  it('are not otherwise', async () => {
    started = await startServer(model)
    await started.server.loadAdapter('a', paths.first!)
    const refused = await started.post('/v1/load_lora_adapter', { lora_name: 'b', lora_path: paths.first })
    expect([refused.status, await refused.text()]).toEqual([
      403,
      expect.stringContaining("unless the server's option allowLoading is set."),
    ])
    expect(await status('/v1/unload_lora_adapter', { lora_name: 'a' })).toBe(403)
    expect((await fetch(`${started.origin}/v1/models/a`, { method: 'DELETE' })).status).toBe(403)
    expect(await names()).toEqual(['org/tiny', 'a'])
  })

  it('that are replaced write what they began', async () => {
    started = await startServer(model)
    const { server } = started
    await server.loadAdapter('a', paths.first!)
    await started.post(CHAT, chat)
    const release = hold()
    const ask = () => answerOf({ ...chat, model: 'a' })
    const former = ask()
    await expect.poll(() => asked.mock.calls.length).toBe(2)
    await server.loadAdapter('a', paths.second!, { replace: true })
    expect(await inModel()).toEqual({ 'a@1': 'first', a: 'second' })
    expect(await names()).toEqual(['org/tiny', 'a'])
    const next = ask()
    await expect.poll(() => asked.mock.calls.length).toBe(3)
    expect(asked.mock.calls.map(([{ adapters }]) => adapters)).toEqual([[], ['a@1'], ['a@2']])
    release()
    for (const answer of [await former, await next]) expect(answer.model).toBe('a')
    const contents = [await former, await next].map(({ choices }) => choices[0]!.message.content)
    expect(contents.map((content) => said.get(content))).toEqual(['first', 'second'])
    await expect.poll(inModel).toEqual({ a: 'second' })
    await server.loadAdapter('a', paths.third!, { replace: true })
    expect(await inModel()).toEqual({ a: 'third' })
    await server.unloadAdapter('a')
    expect(await inModel()).toEqual({})
  })

  it('keep the names that the program has for them', async () => {
    started = await startServer(model)
    const { server } = started
    await server.loadAdapter('a', paths.first!)
    expect(said.get(await textWith('a'))).toBe('first')
    await server.loadAdapter('a', paths.second!, { replace: true })
    expect(said.get(await textWith('a'))).toBe('second')
    await server.unloadAdapter('a')
    await expect(textWith('a')).rejects.toMatchObject({ code: 'unknown-adapter' })
  })

  it('of the program stay in the model when others take their place', async () => {
    started = await startServer(model)
    const { server } = started
    await addOwn('a')
    await expect(server.loadAdapter('a', paths.first!)).rejects.toThrow('is taken')
    await server.loadAdapter('a', paths.first!, { replace: true })
    const answer = await answerOf({ ...chat, model: 'a' })
    expect(said.get(answer.choices[0]!.message.content)).toBe('first')
    expect(await inModel()).toEqual({ a: 'own', 'a@1': 'first' })
    await server.unloadAdapter('a')
    expect(await inModel()).toEqual({ a: 'own' })
    expect(await names()).toEqual(['org/tiny'])
    await addOwn('b')
    await server.unloadAdapter('b')
    expect(await inModel()).toEqual({ a: 'own', b: 'own' })
    expect(await names()).toEqual(['org/tiny'])
  })

  it('are public unless a run trains them, or as they are chosen', async () => {
    started = await startServer(model)
    await addOwn('a')
    await addOwn('b')
    expect(await names()).toEqual(['org/tiny', 'a', 'b'])
    model.setActiveAdapters(['b'])
    const { hold } = model.holdForTraining()
    expect(await names()).toEqual(['org/tiny', 'a'])
    expect((await fetch(`${started.origin}/v1/models/b`)).status).toBe(404)
    expect(await status(CHAT, { ...chat, model: 'b' })).toBe(404)
    await started.server.loadAdapter('b', paths.first!)
    expect(await names()).toEqual(['org/tiny', 'a', 'b'])
    await started.server.unloadAdapter('b')
    await started.close()
    started = await startServer(model, { adapters: ['b'] })
    expect(await names()).toEqual(['org/tiny', 'b'])
    await started.server.loadAdapter('c', paths.first!)
    expect(await names()).toEqual(['org/tiny', 'b', 'c'])
    hold.end()
  })

  it('that a run trains are not replaced, and the base is never dropped', async () => {
    started = await startServer(model, { allowLoading: true })
    const { server } = started
    await server.loadAdapter('a', paths.first!)
    model.setActiveAdapters(['a'])
    const { hold } = model.holdForTraining()
    for (const change of [
      () => server.loadAdapter('a', paths.second!, { replace: true }),
      () => server.unloadAdapter('a'),
    ])
      await expect(change()).rejects.toMatchObject({ code: 'in-training' })
    await server.loadAdapter('b', paths.second!)
    await server.unloadAdapter('b')
    hold.end()
    const dropped = await fetch(`${started.origin}/v1/models/org/tiny`, { method: 'DELETE' })
    expect([dropped.status, await dropped.json()]).toEqual([
      400,
      expect.objectContaining({ error: expect.objectContaining({ message: expect.stringContaining('is the base') }) }),
    ])
    expect(await status(CHAT, { ...chat, model: '' })).toBe(200)
  })

  it('have names that can be asked for, and what is missing or out of reach is said so', async () => {
    started = await startServer(model, { allowLoading: true })
    const load = (more: object) => status('/v1/load_lora_adapter', { lora_name: 'a', lora_path: paths.first, ...more })
    for (const name of ['../x', 'a/../x', '.', 'a/', '/a', 'a//b', 'x'.repeat(129), 'a b'])
      expect(await load({ lora_name: name }), name).toBe(400)
    for (const name of ['a', '.a', 'a..b', 'org/a.b-c_d']) expect(await load({ lora_name: name }), name).toBe(200)
    expect(await load({ lora_name: 'b', lora_path: 'a\0b' })).toBe(400)
    for (const path of [folder(), join(folder(), 'none'), 'none'])
      expect(await load({ lora_name: 'b', lora_path: path }), path).toBe(404)
    expect(await load({ lora_name: 'b', lora_path: 'x'.repeat(5000) })).toBe(400)
    const unreachable = vi
      .spyOn(model, 'loadAdapter')
      .mockRejectedValue(new RunError('hub-unreachable', 'Nobody answers.'))
    expect(await load({ lora_name: 'b' })).toBe(502)
    unreachable.mockRestore()
    expect(started.errors).toEqual([])
  })

  it('of a hub that does not answer keep no others waiting', async () => {
    started = await startServer(model)
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
    const asking = once(silent, 'request')
    const held = started.server.loadAdapter('a', 'owner/name').catch((error: MoraError) => error.code)
    await asking
    await started.server.loadAdapter('b', paths.first!)
    expect(await names()).toEqual(['org/tiny', 'b'])
    release()
    expect(await held).toBe('repository-not-found')
    silent.close()
    vi.unstubAllEnvs()
  })

  it('that are offered are loaded when they are asked for, the 16 of the last requests', async () => {
    started = await startServer(model)
    const engine = new TextEngine(model)
    const served = new ServedAdapters(model, engine, { baseName: 'base', onError: () => {} })
    const offered = Array.from({ length: 18 }, (_, i) => `ft:${i}`)
    for (const name of offered) served.offer(name, paths.first!)
    expect(served.names).toEqual([...offered].sort())
    expect([...model.adapters.keys()]).toEqual([])
    await Promise.all([served.loadFor('ft:0', null), served.loadFor('ft:0', null)])
    const used = served.use('ft:0', null)
    for (const name of offered) await served.loadFor(name, null)
    // One that a text still uses leaves after it.
    expect([...model.adapters.keys()].sort()).toEqual(['ft:0@1', ...offered.slice(2)].sort())
    used.release()
    await expect.poll(() => model.adapters.size).toBe(16)
    await served.withdraw('ft:2')
    expect(() => served.require('ft:2', null)).toThrow('does not exist')
    expect(model.adapters.has('ft:2')).toBe(false)
    await engine.close()
  })

  it('that cannot be loaded leave the former one', async () => {
    started = await startServer(model)
    const { server } = started
    await server.loadAdapter('a', paths.first!)
    const damaged = join(folder(), 'damaged')
    cpSync(paths.second!, damaged, { recursive: true })
    writeFileSync(join(damaged, 'adapter_model.safetensors'), 'damaged')
    await expect(server.loadAdapter('a', damaged, { replace: true })).rejects.toThrow('adapter_model.safetensors')
    expect(await inModel()).toEqual({ a: 'first' })
    expect(await status(CHAT, { ...chat, model: 'a' })).toBe(200)
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
    started = await startServer(model)
    expect(await newestAdapter(at('none'))).toBe(at('none'))
    expect(await newestAdapter(write(at('adapter'), 1))).toBe(at('adapter'))
    mkdirSync(at('run', 'checkpoints'), { recursive: true })
    expect(await newestAdapter(at('run'))).toBe(at('run'))
  })
})
