import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findRuns } from '../../lib/dashboard/find-runs.js'
import { Runs } from '../../lib/dashboard/runs.js'
import { FileView, fileText } from '../../lib/io/inside.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { appendMetrics, stepLine, stepLines, writeRun } from './run-folders.js'

const folder = useTemporaryFolder()
const ids = async (path: string) => (await findRuns(path)).runs.map(({ id }) => id)

describe('the runs of a folder', () => {
  it('are found at any depth, by their paths, in natural order', async () => {
    for (const name of ['b', 'a/run-10', 'a/run-9', 'a']) writeRun(folder(), name)
    expect(await ids(folder())).toEqual(['a', 'a/run-9', 'a/run-10', 'b'])
  })

  it('may be the folder itself', async () => {
    const run = writeRun(folder(), 'out')
    const list = await (await Runs.in(run)).list()
    expect(list.runs.map(({ id, name }) => [id, name])).toEqual([['.', 'out']])
  })

  it('are not looked for in hidden folders, packages, or the parts of a run', async () => {
    for (const name of ['.hidden/run', 'node_modules/run', 'out', 'out/checkpoints/step-000002'])
      writeRun(folder(), name)
    expect(await ids(folder())).toEqual(['out'])
  })

  it('end where the folder ends: links are not followed, to folders or to files', async () => {
    writeRun(folder(), 'outside')
    mkdirSync(join(folder(), 'inside', 'half'), { recursive: true })
    writeRun(join(folder(), 'inside'), 'own')
    symlinkSync(join(folder(), 'outside'), join(folder(), 'inside', 'linked'))
    symlinkSync(join(folder(), 'outside', 'metrics.jsonl'), join(folder(), 'inside', 'half', 'metrics.jsonl'))
    expect(await ids(join(folder(), 'inside'))).toEqual(['own'])
  })

  it('have a state', async () => {
    writeRun(folder(), 'a-running', { locked: true, options: { method: 'mora', operator: 'sharing', maxSteps: 10 } })
    writeRun(folder(), 'b-finished', { card: true })
    writeRun(folder(), 'c-stopped', { card: true, options: { maxSteps: 10 } })
    writeRun(folder(), 'd-killed')
    writeRun(folder(), 'e-empty', { metrics: [] })
    const dead = writeRun(folder(), 'f-dead')
    writeFileSync(join(dead, '.lock'), JSON.stringify({ pid: 2 ** 22 + 1, host: 'elsewhere', started: null }))
    writeFileSync(join(dead, 'metrics.jsonl'), '{"step": 1, "loss": null}\n{"step": 2, "lo')
    const { runs, complete } = await (await Runs.in(folder())).list()
    expect(complete).toBe(true)
    expect(runs.map(({ status, step, totalSteps }) => [status, step, totalSteps])).toEqual([
      ['running', 3, 10],
      ['finished', 3, 3],
      ['stopped', 3, 10],
      ['stopped', 3, 3],
      ['empty', null, 3],
      ['running', 1, 3], // of another machine, and changed just now
    ])
    expect(runs.map(({ method }) => method)).toEqual(['mora, sharing', 'mora', null, 'mora', 'mora', 'mora'])
    expect(runs.map(({ loss }) => loss)).toEqual([...Array(4).fill(1 + 4 / 3), null, null])
  })

  it('have details: what run.yaml says, checkpoints and samples', async () => {
    const samples = [0, 5].map((step) => ({ step, prompt: 'p', text: `t${step}` }))
    const options = { learningRate: 1e-3, data: ['a.jsonl', 'b.jsonl'], nested: { deep: [1] } }
    const run = writeRun(folder(), 'out', { samples, options, checkpoints: [20, 5] })
    const rollout = { step: 3, prompt: 'p', completion: 'c', rewards: { short: -0.51234, odd: 'x' }, advantage: 1 }
    writeFileSync(join(run, 'rollouts.jsonl'), `${JSON.stringify(rollout)}\n`)
    writeFileSync(join(run, 'checkpoints/step-000020/adapter_config.json'), '{}')
    const runs = await Runs.in(folder())
    expect(await runs.details('out')).toEqual({
      id: 'out',
      facts: [
        { group: 'options', name: 'learningRate', value: '0.001' },
        { group: 'options', name: 'data', value: 'a.jsonl, b.jsonl' },
        { group: 'options', name: 'nested', value: '{"deep":[1]}' },
        { group: 'machine', name: 'device', value: 'cpu' },
      ],
      checkpoints: [5, 20],
      serves: 'adapter',
      samples: [
        ...samples.map((sample) => ({ ...sample, rewards: '' })),
        { step: 3, prompt: 'p', text: 'c', rewards: 'short -0.512' },
      ],
      problems: [],
    })
  })

  it('have something to serve once it is written', async () => {
    const run = writeRun(folder(), 'out', { checkpoints: [20] })
    const serves = async () => (await (await Runs.in(folder())).details('out'))!.serves
    expect(await serves()).toBeNull()
    mkdirSync(join(run, 'model'))
    writeFileSync(join(run, 'model/config.json'), '{}')
    expect(await serves()).toBe('model')
    writeFileSync(join(run, 'adapter_config.json'), '{}')
    expect(await serves()).toBe('adapter')
  })

  it('say which of their files cannot be read', async () => {
    const run = writeRun(folder(), 'out')
    writeFileSync(join(run, 'run.yaml'), 'options: [unclosed')
    const runs = await Runs.in(folder())
    expect((await runs.details('out'))!.problems).toEqual([expect.stringMatching(/^run\.yaml is not YAML: /)])
  })

  it('tell what a run did not train, and the step of its result', async () => {
    const run = writeRun(folder(), 'out')
    const result = { steps: 7, resultStep: 4, problem: 'Nothing was trained.' }
    writeFileSync(join(run, 'run.yaml'), JSON.stringify({ options: {}, result }))
    const { problems, facts } = (await (await Runs.in(folder())).details('out'))!
    expect(problems).toEqual(['Nothing was trained.'])
    expect(facts).toContainEqual({ group: 'result', name: 'resultStep', value: '4' })
  })

  it('are read beside one with files of any size, and say so', async () => {
    for (const name of ['metrics.jsonl', 'samples.jsonl']) {
      const path = join(writeRun(folder(), `large-${name}`, { samples: [] }), name)
      truncateSync(path, 20e9) // sparse
    }
    truncateSync(join(writeRun(folder(), 'large'), 'run.yaml'), 20e9)
    writeRun(folder(), 'well')
    const runs = await Runs.in(folder())
    expect((await runs.list()).runs.map(({ id, step }) => [id, step])).toEqual([
      ['large', 3],
      ['large-metrics.jsonl', null],
      ['large-samples.jsonl', 3],
      ['well', 3],
    ])
    for (const name of ['metrics.jsonl', 'samples.jsonl']) {
      expect((await runs.details(`large-${name}`))!.problems).toEqual([
        `${name} has 20000000000 bytes, and 268435456 are read at most.`,
      ])
    }
    expect(await runs.metrics('large-metrics.jsonl', null)).toMatchObject({ steps: { rows: 0 }, malformed: 0 })
    expect(await runs.metrics('well', null)).toMatchObject({ steps: { rows: 3 } })
    truncateSync(join(folder(), 'large-metrics.jsonl', 'metrics.jsonl'), 0)
    appendMetrics(join(folder(), 'large-metrics.jsonl'), [stepLine(1)])
    expect(await runs.metrics('large-metrics.jsonl', null)).toMatchObject({ steps: { rows: 1 } })
    expect((await runs.details('large-metrics.jsonl'))!.problems).toEqual([])
  })

  it('are read beside one with a pipe or a folder in place of a file', async () => {
    const odd = writeRun(folder(), 'odd')
    rmSync(join(odd, 'metrics.jsonl'))
    mkdirSync(join(odd, 'metrics.jsonl'))
    rmSync(join(odd, 'samples.jsonl'), { force: true })
    execFileSync('mkfifo', [join(odd, 'samples.jsonl')])
    const runs = await Runs.in(folder())
    expect((await runs.list()).runs).toMatchObject([{ id: 'odd', status: 'empty' }])
    expect(await runs.details('odd')).toMatchObject({ samples: [], problems: [] })
  })

  it('are searched to a depth of six folders', async () => {
    writeRun(folder(), 'deep/2/3/4/5/6')
    writeRun(folder(), 'deep/2/3/4/5/6/7')
    expect(await findRuns(folder())).toMatchObject({ runs: [{ id: 'deep/2/3/4/5/6' }], complete: false })
  })

  it('are read no further once the reader is told to end', async () => {
    const run = writeRun(folder(), 'out', { metrics: [] })
    truncateSync(join(run, 'metrics.jsonl'), 2 ** 28)
    const ending = new AbortController()
    const runs = await Runs.in(folder(), ending.signal)
    const read = runs.metrics('out', null)
    ending.abort()
    expect((await read)!.malformed).toBeLessThan(256)
  })

  it('are read beside one whose run.yaml contains itself, or has any number of keys', { timeout: 20_000 }, async () => {
    const keys = Array.from({ length: 80_000 }, (_, i) => `key${i}: 1\n`).join('')
    for (const [name, content] of Object.entries({ cyclic: 'options: &a {x: *a}\n', endless: keys }))
      writeFileSync(join(writeRun(folder(), name), 'run.yaml'), content)
    writeRun(folder(), 'well')
    const runs = await Runs.in(folder())
    expect((await runs.list()).runs.map(({ name }) => name).sort()).toEqual(['cyclic', 'endless', 'well'])
    expect((await runs.details('cyclic'))!.problems).toEqual([expect.stringMatching(/alias/)])
  })

  it('are only those that were found, whatever is asked for', async () => {
    writeRun(folder(), 'outside')
    writeRun(folder(), 'inside/own')
    const runs = await Runs.in(join(folder(), 'inside'))
    for (const id of ['../outside', join(folder(), 'outside'), 'own/../../outside', 'own/', '', '__proto__']) {
      expect([await runs.details(id), await runs.metrics(id, null)], id).toEqual([null, null])
    }
  })

  it('are read inside the folder only, also when a link takes their place later', async () => {
    const secret = writeRun(folder(), 'outside', {
      metrics: [stepLine(77)],
      samples: [{ step: 7, prompt: 'p', text: 't' }],
      checkpoints: [7],
    })
    const own = writeRun(folder(), 'inside/own')
    const runs = await Runs.in(join(folder(), 'inside'))
    expect((await runs.metrics('own', null))!.steps.rows).toBe(3)
    renameSync(own, `${own}-before`)
    symlinkSync(secret, own)
    expect((await runs.metrics('own', null))!.steps.rows).toBe(0)
    expect(await runs.details('own')).toMatchObject({ facts: [], samples: [], checkpoints: [] })
    rmSync(own)
    mkdirSync(own)
    for (const name of ['metrics.jsonl', 'run.yaml', 'samples.jsonl', 'checkpoints'])
      symlinkSync(join(secret, name), join(own, name))
    expect((await runs.metrics('own', null))!.steps.rows).toBe(0)
    expect(await runs.details('own')).toMatchObject({ facts: [], samples: [], checkpoints: [] })
  })

  it('keep few rows of metrics in memory, those that were asked for last, and read the others again', async () => {
    const names = ['a', 'b', 'c']
    for (const name of names) writeRun(folder(), name, { metrics: stepLines(1, 5) })
    const runs = await Runs.in(folder(), undefined, 10)
    const first = (await runs.metrics('a', null))!
    const second = (await runs.metrics('b', null))!
    expect((await runs.metrics('a', null))!.version).toBe(first.version)
    expect((await runs.metrics('c', null))!.steps.rows).toBe(5)
    expect((await runs.metrics('a', null))!.version).toBe(first.version)
    const again = (await runs.metrics('b', null))!
    expect(again.version).not.toBe(second.version)
    expect(again.steps).toEqual(second.steps)
  })
})

it('a file is read again only when it has changed', async () => {
  const path = join(writeRun(folder(), 'out'), 'run.yaml')
  let reads = 0
  const view = new FileView(path, async (file) => {
    reads++
    return await fileText(file)
  })
  const first = await view.get()
  expect([await view.get(), reads]).toEqual([first, 1])
  writeFileSync(path, 'options: {}\n')
  expect([await view.get(), reads]).toEqual(['options: {}\n', 2])
})
