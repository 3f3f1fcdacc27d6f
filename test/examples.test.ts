/** Each example runs as it stands, for a few steps. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { DEMO_MODEL } from '../lib/cli/demo.js'
import { drawnTests } from './drawn.js'
import { placeExample } from './example-process.js'
import { useTemporaryFolder } from './io/temporary.js'
import { lacksBuild, needing } from './needs.js'
import { lacksLauncher, launchers, runJob } from './ranks/launchers.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const data = join(root, 'examples', 'facts.jsonl')
const folder = useTemporaryFolder()

/** Runs an example with arguments and returns its output. */
async function run(load: () => Promise<unknown>, ...argv: string[]): Promise<string> {
  process.argv = ['node', 'example', ...argv]
  const log = vi.spyOn(console, 'log').mockImplementation(() => {})
  await load()
  return log.mock.calls.map(([line]) => `${line}\n`).join('')
}

const argv = process.argv
afterEach(() => {
  process.argv = argv
  vi.restoreAllMocks()
})

describe('examples', () => {
  const next = drawnTests('examples', 10, 2)

  next().it('train.ts trains, measures, merges and generates', async () => {
    const output = join(folder(), 'out')
    const printed = await run(() => import('../examples/train.js'), DEMO_MODEL, data, output, '20')
    expect(printed).toMatch(/^recalled: \d+ % of the facts/m)
    expect(printed).toMatch(/^merged 28 layers/m)
    const loss = (step: number) => Number(new RegExp(`^step ${step} {2}loss (.+)$`, 'm').exec(printed)![1])
    expect(loss(20)).toBeLessThan(loss(10))
    expect(existsSync(join(output, 'adapter_model.safetensors'))).toBe(true)
    expect(existsSync(join(output, 'merged', 'model.safetensors'))).toBe(true)
  })

  next().it('own-loop.ts trains and saves an adapter', async () => {
    const output = join(folder(), 'out')
    const printed = await run(() => import('../examples/own-loop.js'), DEMO_MODEL, data, output, '10')
    const loss = (step: number) => Number(new RegExp(`^step ${step}/20 {2}loss (\\S+)`, 'm').exec(printed)![1])
    expect(loss(20)).toBeLessThan(loss(10))
    const config = JSON.parse(readFileSync(join(output, 'adapter_config.json'), 'utf8'))
    expect(config).toMatchObject({ use_mora: true, mora_type: 6, r: 2 })
  })

  next().it('objective.ts distils a teacher', async () => {
    const printed = await run(() => import('../examples/objective.js'), DEMO_MODEL, data, '6')
    const loss = (step: number) => Number(new RegExp(`^step ${step} {2}loss (\\S+)$`, 'm').exec(printed)![1])
    expect(loss(6)).toBeLessThan(0.8 * loss(1))
  })

  next().it('reward.ts ranks answers that it has not seen', async () => {
    const pairs = join(root, 'examples', 'preferences.jsonl')
    const printed = await run(() => import('../examples/reward.js'), DEMO_MODEL, pairs, join(folder(), 'out'), '30')
    expect(Number(/^held-out pairs: (\d+)/m.exec(printed)![1])).toBeGreaterThanOrEqual(75)
    const [rude, kind] = ['Look it up', 'Happy to help'].map((end) =>
      Number(new RegExp(`^(\\S+) {2}Four. ${end}`, 'm').exec(printed)![1]),
    )
    expect(kind).toBeGreaterThan(rude!)
  })

  next().it('classify.ts tells labels, and merges', async () => {
    const output = join(folder(), 'out')
    const printed = await run(() => import('../examples/classify.js'), DEMO_MODEL, output, '30')
    expect(printed).toMatch(/^accuracy 1$/m)
    expect(printed).toMatch(/^The coat is warm: good/m)
    const config = JSON.parse(readFileSync(join(output, 'merged', 'config.json'), 'utf8'))
    expect(config.id2label).toEqual({ 0: 'bad', 1: 'good' })
  })

  next().it('embed.ts finds what belongs together', async () => {
    const output = join(folder(), 'out')
    const printed = await run(() => import('../examples/embed.js'), DEMO_MODEL, output, '40')
    const [, before, after] = /^nDCG@10 (\S+), then (\S+)$/m.exec(printed)!
    expect(Number(after)).toBeGreaterThan(Number(before))
    expect(printed).toMatch(/^What does a duck do\? It will quack\.$/m)
    expect(existsSync(join(output, 'merged', '1_Pooling', 'config.json'))).toBe(true)
  })

  next().it('openai-fine-tuning.ts tunes a model that says something else then, and is deleted', async () => {
    const path = join(folder(), 'model')
    cpSync(DEMO_MODEL, path, { recursive: true })
    const settings = JSON.parse(readFileSync(join(path, 'tokenizer_config.json'), 'utf8'))
    const turns = "{% for message in messages %}{{ message.role + '=' + message.content + '<end>' }}{% endfor %}"
    const template = `${turns}{% if add_generation_prompt %}{{ 'assistant=' }}{% endif %}`
    writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify({ ...settings, chat_template: template }))
    const load = () => import('../examples/openai-fine-tuning.js')
    const printed = await run(load, path, join(folder(), 'jobs'), '8')
    const teams = /^(shipping|billing|account)$/
    const said = (when: string) => new RegExp(`^${when}: (.*)$`, 'm').exec(printed)![1]
    expect(said('before')).not.toMatch(teams)
    expect(said('after')).toMatch(teams)
    expect(printed).toMatch(/^Step 96\/96: training loss=\S+, validation loss=\S+$/m)
    expect(printed).toMatch(/^The job has successfully completed\nstep,train_loss,train_accuracy,/m)
    expect(printed).toMatch(/^ft:base:local:tickets:\w{8}$/m)
    expect(printed).toMatch(/^served: base$/m)
  })

  const lossesOf = (printed: string) => [...printed.matchAll(/^loss (\S+)$/gm)].map(([, loss]) => Number(loss))
  const openMpi = launchers.find(({ name }) => name === 'Open MPI')!

  next().describe('many-processes.ts', () => {
    let alone: number[] = []

    it('trains on one process', async () => {
      const output = join(folder(), 'out')
      alone = lossesOf(await run(() => import('../examples/many-processes.js'), DEMO_MODEL, data, output, '1'))
      expect(alone).toHaveLength(4) // the last step has one row, so a second rank has none
      expect(alone[2]).toBeLessThan(alone[0]!)
      expect(existsSync(join(output, 'adapter_model.safetensors'))).toBe(true)
    })

    needing(lacksLauncher(openMpi)).it('trains alike on two', async () => {
      const module = placeExample(folder(), 'many-processes')
      const output = join(folder(), 'together')
      const { code, stdout, stderr } = await runJob(openMpi, 2, [module, DEMO_MODEL, data, output, '1'])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      const together = lossesOf(stdout)
      expect(together).toHaveLength(alone.length)
      for (const [i, loss] of together.entries()) expect(Math.abs(loss / alone[i]! - 1)).toBeLessThan(1e-6)
      expect(existsSync(join(output, 'adapter_model.safetensors'))).toBe(true)
    })
  })

  next().it('one-layer.ts finds the matrix', async () => {
    const printed = await run(() => import('../examples/one-layer.js'), '100')
    const error = (step: number) =>
      Number(new RegExp(`^step ${step} {2}mean squared error (.+)$`, 'm').exec(printed)![1])
    expect(error(100)).toBeLessThan(0.01 * error(1))
    expect(printed).toMatch(/^ΔW is \[64, 96\]$/m)
  })

  next(lacksBuild).it('cli.sh runs each command', () => {
    const output = join(folder(), 'out')
    const script = join(root, 'examples', 'cli.sh')
    const printed = execFileSync('bash', [script, DEMO_MODEL, data, output, '3'], { encoding: 'utf8', stdio: 'pipe' })
    expect(printed).toMatch(/^steps +3$/m)
    expect(printed).toMatch(/^merged weights +28$/m)
    expect(JSON.parse(readFileSync(join(output, 'adapter.json'), 'utf8'))).toMatchObject({ method: 'mora', rank: 1 })
    expect(existsSync(join(output, 'merged', 'model.safetensors'))).toBe(true)
  })
})
