import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { commands } from '../../lib/cli/commands/index.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { runCommandLine } from '../../lib/cli/run-command.js'
import { loadModel } from '../../lib/models/index.js'
import { main } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { mora } from './mora.js'
import { testTerminal } from './terminal.js'

const folder = useTemporaryFolder()

async function writeAdapter(): Promise<string> {
  using model = await loadModel(DEMO_MODEL, { device: 'cpu' })
  await model.addAdapter('a', lora({ rank: 2 }))
  const output = join(folder(), 'out')
  await model.saveAdapter('a', output)
  return output
}

describe('mora serve', () => {
  it('prints where it listens, answers there by names, and ends with Ctrl-C', async () => {
    const adapter = await writeAdapter()
    const keys = join(folder(), 'keys')
    writeFileSync(keys, 'anna sk-one\nbert\tsk-two\n')
    const terminal = testTerminal()
    const argv = ['serve', '--model', DEMO_MODEL, '--adapter', `a=${adapter}`, '--port', '0', '--api-key-file', keys]
    argv.push('--jobs', join(folder(), 'jobs'))
    const ended = runCommandLine(argv, { commands, version: '0.0.0', terminal })
    await Promise.race([ended, expect.poll(() => terminal.written.stdout, { timeout: 60_000 }).not.toBe('')])
    const [, origin] = /^listening on (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(terminal.written.stdout)!
    const client = new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'sk-two', maxRetries: 0 })
    const { data } = await client.models.list()
    expect(data.map(({ id }) => id)).toEqual(['demo-model', 'a'])
    const { choices } = await client.completions.create({ model: 'a', prompt: 'The', max_tokens: 2 })
    expect(choices).toHaveLength(1)
    expect((await client.fineTuning.jobs.list()).data).toEqual([])
    expect((await fetch(`${origin}/v1/models`)).status).toBe(401)
    expect(await (await fetch(origin!)).text()).toMatch(/^<!doctype html>/)
    process.emit('SIGINT', 'SIGINT')
    expect(await ended).toBe(0)
    expect(terminal.written.stderr).toBe('')
    await expect(fetch(`${origin}/health`)).rejects.toThrow()
  })

  it('ends with 2 for what does not fit', async () => {
    const keys = join(folder(), 'keys')
    writeFileSync(keys, '\n')
    for (const [name, text] of Object.entries({ half: 'a sk-a\nsk-b', words: 'a sk-a x', twice: 'a sk-a\na sk-b' }))
      writeFileSync(join(folder(), name), text)
    const cases: [string[], string][] = [
      [[], 'mora: Missing --model; it is required.\n'],
      [['--model', DEMO_MODEL, '--adapter', 'out'], 'Expected a name and a folder or hub id, as NAME=A, for --adapter'],
      [['--model', DEMO_MODEL, '--api-key-file', 'none'], '--api-key-file: there is no file or folder "none".'],
      [['--model', DEMO_MODEL, '--api-key-file', keys], 'has no key'],
      [['--model', DEMO_MODEL, '--api-key-file', join(folder(), 'half')], 'has keys with and without names'],
      [
        ['--model', DEMO_MODEL, '--api-key-file', join(folder(), 'words')],
        'has a line that is neither a key nor a name and a key',
      ],
      [['--model', DEMO_MODEL, '--api-key-file', join(folder(), 'twice')], 'has a name twice'],
      [
        ['--model', DEMO_MODEL, '--allow-loading', '--host', '0.0.0.0'],
        '--allow-loading needs --api-key-file where others can connect.',
      ],
    ]
    for (const [argv, stderr] of cases) {
      const outcome = await mora('serve', ...argv)
      expect(outcome).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringContaining(stderr) })
    }
  })
})

needing(lacksBuild).test('a process that is terminated writes its answers to their end', async () => {
  const child = spawn(process.execPath, [main, 'serve', '--model', DEMO_MODEL, '--port', '0', '--json', '--no-page'])
  const ended = once(child, 'close')
  const [started] = (await once(child.stdout, 'data')) as [Buffer]
  const { url } = JSON.parse(String(started)) as { url: string }
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
  const request = { model: 'demo-model', prompt: 'The', max_tokens: 200, temperature: 1, stream: true } as const
  const stream = await client.completions.create(request)
  expect((await fetch(url)).status).toBe(404)
  let pieces = 0
  let finish: string | null = null
  for await (const { choices } of stream) {
    if (pieces++ === 0) child.kill('SIGTERM')
    finish = choices[0]!.finish_reason
  }
  expect(finish).toMatch(/^(stop|length)$/)
  expect(await ended).toEqual([0, null])
})
