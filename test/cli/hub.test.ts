/** Hub ids in commands and in the library, from the download to the run's record. */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { evaluate, loadDataset, loadModel, loadTokenizer, mora as moraAdapter, train } from '../../lib/index.js'
import { commitOf, type StandIn, sha256 } from '../hub/stand-in.js'
import { useStandInByVariables } from '../hub/use-stand-in.js'
import { lacksBuild, needing } from '../needs.js'
import { moraJson } from './mora.js'
import { words } from './words.js'

const root = join(import.meta.dirname, '../..')
const demo = join(root, 'assets/demo-model')
const folder = mkdtempSync(join(tmpdir(), 'mora-cli-hub-'))
const at = (name: string) => join(folder, name)
const COMMIT = commitOf('first')

const filesOf = (path: string) => {
  const files = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(files.map(({ name }) => [name, readFileSync(join(path, name))]))
}
const rows = (count: number, what: string) =>
  Array.from({ length: count }, (_, i) => JSON.stringify({ prompt: `${what} ${i}`, completion: `${i * i}` })).join('\n')

const FACTS = {
  'train.jsonl': rows(9, 'square'),
  'validation.jsonl': rows(4, 'power'),
  'test.jsonl': rows(5, 'product'),
}

const standIn = useStandInByVariables(at('home'))
let hub: StandIn

beforeAll(() => {
  hub = standIn()
  hub.add({ kind: 'model', id: 'owner/demo', files: filesOf(demo), commit: COMMIT })
  hub.add({ kind: 'dataset', id: 'owner/facts', files: FACTS, commit: COMMIT })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const training = (output: string, ...more: string[]) => words`
  train --model owner/demo --data owner/facts --eval-data owner/facts --output ${at(output)} --max-steps 2
  --threads 1 ${more}
`
const adapting = (output: string, ...more: string[]) => training(output, '--rank', '1', ...more)

describe('mora train with hub ids', () => {
  test('downloads, trains, and records what the ids meant', async () => {
    const { exitCode, json, stderr } = await moraJson(...adapting('out'))
    expect(exitCode, stderr).toBe(0)
    expect(json).toMatchObject({ steps: 2, evalLoss: expect.any(Number) })
    expect(stderr).toMatch(/^owner\/demo {2}\d+ % {2}.* of 1\.\d+ MiB/m)
    expect(stderr).toMatch(/^downloaded owner\/demo: 5 files, 1\.\d+ MiB$/m)
    expect(stderr).not.toContain('hf_secret')

    const { options } = parse(readFileSync(at('out/run.yaml'), 'utf8')) as { options: Record<string, unknown> }
    expect(options).toMatchObject({
      model: `owner/demo@${COMMIT}`,
      data: [`owner/facts@${COMMIT}:train`],
      evalData: [`owner/facts@${COMMIT}:validation`],
    })
    expect(JSON.parse(readFileSync(at('out/adapter_config.json'), 'utf8'))).toMatchObject({
      base_model_name_or_path: 'owner/demo',
      revision: COMMIT,
    })
    const card = readFileSync(at('out/README.md'), 'utf8')
    expect(card).toMatch(/^base_model: owner\/demo$/m)
    expect(card).toMatch(/^datasets:\n {2}- owner\/facts$/m)
    expect(card).toContain('# demo, trained with mora')
  })

  test('goes on from its run.yaml with the same commits, whatever the branch means by now', async () => {
    const changed = { ...FACTS, 'train.jsonl': rows(9, 'cube') }
    hub.add({ kind: 'dataset', id: 'owner/facts', files: changed, commit: commitOf('second') })
    process.env.HF_HUB_OFFLINE = '1'
    const { exitCode, json, stderr } = await moraJson('train', '--config', at('out/run.yaml'), '--resume')
    expect(exitCode, stderr).toBe(0)
    expect(json).toMatchObject({ steps: 2 })
    delete process.env.HF_HUB_OFFLINE
    const newer = await moraJson(...adapting('out', '--resume'))
    expect(newer.json).toMatchObject({ error: { code: 'changed-run', message: expect.stringContaining('data') } })
    hub.add({ kind: 'dataset', id: 'owner/facts', files: FACTS, commit: COMMIT })
  })

  test('with --init takes the tokenizer alone', async () => {
    process.env.HF_HOME = at('home-of-tokenizer')
    const { exitCode, stderr } = await moraJson(...training('scratch', '--init', join(demo, 'config.json')))
    expect(exitCode, stderr).toBe(0)
    const snapshot = at(`home-of-tokenizer/hub/models--owner--demo/snapshots/${COMMIT}`)
    expect(existsSync(join(snapshot, 'tokenizer.json'))).toBe(true)
    expect(existsSync(join(snapshot, 'model.safetensors'))).toBe(false)
  })
})

describe('other commands with hub ids', () => {
  test('use models and adapters of the hub together', async () => {
    const { 'adapter_config.json': config, 'adapter_model.safetensors': weights } = filesOf(at('out'))
    hub.add({
      kind: 'model',
      id: 'owner/adapter',
      files: { 'adapter_config.json': config!, 'adapter_model.safetensors': weights! },
    })
    const asking = ['generate', '--model', 'owner/demo', '--prompt', 'square 3', '--max-new-tokens', '4']
    const local = await moraJson(...asking, '--adapter', at('out'))
    const remote = await moraJson(...asking, '--adapter', 'owner/adapter')
    expect(remote.exitCode, remote.stderr).toBe(0)
    expect(remote.json.ids).toEqual(local.json.ids)
    const merged = await moraJson(...words`merge --model owner/demo --adapter owner/adapter --output ${at('merged')}`)
    expect(merged.json).toMatchObject({ output: at('merged'), merged: expect.any(Number) })
    expect(readdirSync(at('merged'))).toEqual(expect.arrayContaining(['config.json', 'tokenizer.json']))
  })

  test('find the base of an adapter by the id and commit in its file', async () => {
    process.env.HF_HOME = at('home-of-base')
    const inspected = await moraJson('inspect', '--adapter', at('out'))
    expect(inspected.json).toMatchObject({ baseModel: `owner/demo@${COMMIT}` })
    expect(existsSync(at('home-of-base/hub/models--owner--demo'))).toBe(false)
    const analyzed = await moraJson('analyze', '--adapter', at('out'))
    expect(analyzed.exitCode, analyzed.stderr).toBe(0)
    expect(analyzed.stderr).toMatch(/^downloaded owner\/demo/m)
    const more = ['--format', 'peft', '--approximate-rank', '2', '--force', '--output', at('lora')]
    expect((await moraJson('export', '--adapter', at('out'), ...more)).exitCode).toBe(0)
    expect(JSON.parse(readFileSync(at('lora/adapter_config.json'), 'utf8'))).toMatchObject({
      base_model_name_or_path: 'owner/demo',
      revision: COMMIT,
    })
    expect((await moraJson('inspect', '--adapter', at('out'))).json.layers[0].inFeatures).toEqual(expect.any(Number))
  })

  test('measure on the test split', async () => {
    const asking = ['eval', '--model', 'owner/demo', '--task', 'logprobs', '--threads', '1']
    const named = await moraJson(...asking, '--data', 'owner/facts')
    expect(named.exitCode, named.stderr).toBe(0)
    expect(named.json.rows).toHaveLength(5)
    expect((await moraJson(...asking, '--data', 'owner/facts:train')).json.rows).toHaveLength(9)
  })

  test('look at models and data', async () => {
    const { json } = await moraJson('inspect', '--model', 'owner/demo', '--data', 'owner/facts@main/test.jsonl')
    expect(json.summary).toMatchObject({ rows: 5 })
    const model = await moraJson('inspect', '--model', 'owner/demo')
    expect(model.json).toMatchObject({
      path: `owner/demo@${COMMIT}`,
      tokenizer: { vocabularySize: expect.any(Number) },
    })
    expect((await moraJson('inspect', '--model', 'owner/demo', '--method', 'lora')).json).toMatchObject({
      method: 'lora',
    })
  })
})

describe('what goes wrong', () => {
  test('offline, without the cache, is wrong usage that says so', async () => {
    process.env.HF_HOME = at('empty-home')
    const { exitCode, json } = await moraJson('generate', '--model', 'owner/demo', '--prompt', 'x', '--offline')
    expect({ exitCode, code: json.error.code }).toEqual({ exitCode: 2, code: 'not-cached' })
    expect(json.error.message).toContain(at('empty-home/hub'))
  })

  test('offline, with the cache, works', async () => {
    const requests = hub.requests.length
    const { exitCode } = await moraJson(...words`generate --model owner/demo --prompt x --offline --max-new-tokens 1`)
    expect({ exitCode, requests: hub.requests.length }).toEqual({ exitCode: 0, requests })
  })

  test('an id that does not exist is reported before work starts, and so is a path that cannot be an id', async () => {
    const id = await moraJson('inspect', '--model', 'no/such')
    expect(id).toMatchObject({ exitCode: 2, json: { error: { code: 'repository-not-found' } } })
    const path = await moraJson('inspect', '--model', 'nothing-here')
    expect(path).toMatchObject({ exitCode: 2, json: { error: { code: 'missing-file' } } })
    expect(path.json.error.message).toBe(
      '--model: there is no file or folder "nothing-here", and a hub id would have the form owner/name.',
    )
  })

  test('an output folder with the name of the id is not mistaken for it', async () => {
    const { json } = await moraJson('merge', '--model', 'no/such', '--adapter', 'no/such', '--output', 'no')
    expect(json).toMatchObject({ error: { code: 'repository-not-found' } })
  })
})

describe('the library with hub ids', () => {
  test('loads, trains, measures and saves', async () => {
    const warnings: string[] = []
    const model = await loadModel('owner/demo', { threads: 1, onWarning: (message) => warnings.push(message) })
    expect(model.reference).toBe(`owner/demo@${COMMIT}`)
    expect(model.source!.origin).toEqual({ id: 'owner/demo', repository: 'owner/demo', revision: COMMIT })
    expect((await loadTokenizer('owner/demo'))!.hash).toBe(model.tokenizer!.hash)
    const data = await loadDataset('owner/facts', { tokenizer: model.tokenizer, purpose: 'evaluation' })
    expect(data.length).toBe(5)

    model.addAdapter('facts', moraAdapter({ rank: 1 }))
    const run = train(model, { model: 'owner/demo', data: 'owner/facts', output: at('by-library'), maxSteps: 1 })
    await run.finished
    const { options } = parse(readFileSync(at('by-library/run.yaml'), 'utf8')) as { options: Record<string, unknown> }
    expect(options).toMatchObject({ model: `owner/demo@${COMMIT}`, data: [`owner/facts@${COMMIT}:train`] })
    expect((await evaluate(model, { task: 'logprobs', data: 'owner/facts' })).rows).toHaveLength(5)
    const other = train(model, { model: 'owner/other', data: 'owner/facts' })
    await expect(other.finished).rejects.toThrow(
      /The option model is owner\/other, but the model was loaded with owner\/demo@/,
    )
    expect(warnings).toEqual([])
    model.dispose()
  })
})

needing(lacksBuild).describe('several processes', () => {
  const start = (home: string) => {
    const env = { ...process.env, HF_HOME: at(home) }
    const child = spawn(
      process.execPath,
      [join(root, 'dist/cli/main.js'), 'inspect', '--model', 'owner/demo', '--json'],
      { env },
    )
    let errors = ''
    child.stderr.on('data', (data) => {
      errors += data
    })
    const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)))
    return { child, ended, errors: () => errors }
  }
  const fromStore = () => hub.requests.filter(({ host }) => host === 'store')

  test('that want the same file at once download it once', async () => {
    const seen = fromStore().length
    // Slow enough for both to meet.
    hub.fail('store', /./, (_, __, answer) => void setTimeout(answer, 1500), 20)
    const both = [start('home-of-two'), start('home-of-two')]
    expect(await Promise.all(both.map(({ ended }) => ended))).toEqual([0, 0])
    const paths = fromStore()
      .slice(seen)
      .map(({ path }) => path)
    expect(new Set(paths).size).toBe(paths.length)
    expect(both.map(({ errors }) => errors()).join()).toContain('Another process downloads')
  })

  test('of which one is killed leave the received part to the next', async () => {
    const weights = readFileSync(join(demo, 'model.safetensors'))
    const sent = new Promise<void>((resolve) => {
      hub.fail('store', new RegExp(sha256(weights)), (_, response) => {
        response.writeHead(200, { 'content-length': weights.length })
        response.write(weights.subarray(0, 1_000_000), () => setTimeout(resolve, 300))
      })
    })
    const killed = start('home-of-killed')
    await sent
    killed.child.kill('SIGKILL')
    await killed.ended
    const seen = fromStore().length
    const next = start('home-of-killed')
    expect(await next.ended, next.errors()).toBe(0)
    expect(
      fromStore()
        .slice(seen)
        .some(({ range }) => range !== undefined),
    ).toBe(true)
    const blobs = readdirSync(at('home-of-killed/hub/models--owner--demo/blobs'))
    expect(blobs.filter((name) => name.includes('incomplete'))).toEqual([])
  })
})
