/** The Express app of docs/serving.md, as its clients see it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { loadModel } from '../../lib/models/index.js'
import { placeExample, startExample } from '../example-process.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { lacksDraw } from './drawn-guide.js'

const folder = useTemporaryFolder()

/** Writes an adapter whose values are `value`. */
async function writeAdapter(value: number): Promise<string> {
  using model = await loadModel(DEMO_MODEL, { device: 'cpu' })
  await model.addAdapter('a', lora({ rank: 2 }))
  for (const { parameter } of model.trainableParameters()) {
    parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => value * Math.sin(i)))
  }
  const output = join(folder(), 'out')
  await model.saveAdapter('a', output)
  return output
}

async function portOf(child: ChildProcess): Promise<string> {
  let said = ''
  child.stderr!.on('data', (text) => (said += text))
  const ended = once(child, 'exit').then(([code]) => expect.fail(`the app ended with ${code}: ${said}`))
  const [text] = await Promise.race([once(child.stdout!, 'data'), ended])
  return /port: (\d+)/.exec(String(text))![1]!
}

needing(lacksDraw('endpoint'), lacksBuild).test(
  'an Express app serves a model and the adapter of a run beside its own routes',
  async () => {
    const output = await writeAdapter(0.2)
    const child = startExample(placeExample(folder(), 'endpoint'), [DEMO_MODEL, output, '0'])
    const origin = `http://127.0.0.1:${await portOf(child)}`
    expect(await (await fetch(origin)).text()).toBe('The app itself.')
    const client = new OpenAI({ baseURL: `${origin}/llm/v1`, apiKey: 'sk-local', maxRetries: 0 })
    const ask = async (model: string) => {
      const { choices } = await client.completions.create({
        model,
        prompt: 'The code of',
        max_tokens: 12,
        temperature: 0,
      })
      return choices[0]!.text
    }
    const [base, adapted] = [await ask('base'), await ask('support')]
    expect(adapted).not.toBe(base)
    await writeAdapter(-0.3)
    expect(await ask('support')).toBe(adapted)
    expect((await fetch(`${origin}/newest`, { method: 'POST' })).status).toBe(204)
    expect(await ask('support')).not.toBe(adapted)
    expect(await ask('base')).toBe(base)
    const stranger = new OpenAI({ baseURL: `${origin}/llm/v1`, apiKey: 'sk-other', maxRetries: 0 })
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 401 })
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  },
)
