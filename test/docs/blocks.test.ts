/**
 * Every command and every piece of code in the documentation works as stated, and every link resolves. `npm test` draws pages whose
 * blocks are run; all are checked.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { commands } from '../../lib/cli/commands/index.js'
import { parseArguments } from '../../lib/cli/parser.js'
import { parseOptions } from '../../lib/options/index.js'
import { drawn } from '../drawn.js'
import { StandIn } from '../hub/stand-in.js'
import { type Block, blocksOf, commandsOf, documented, moraArguments, pages, root } from './blocks.js'
import { brokenLinks } from './links.js'
import { fillHub, MADE, writeSamples } from './samples.js'
import { Trackers } from './trackers.js'

const folder = mkdtempSync(join(tmpdir(), 'mora-docs-'))
const samples = join(folder, 'samples')
const examples = documented.flatMap(blocksOf)
const blocks = [...pages.flatMap(blocksOf), ...examples]
const whereOf = ({ page, line }: Block) => `${page}:${line}`
const isRun = ({ treatment }: Block) => treatment.kind === 'run' || treatment.kind === 'fail'
const scripts = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }).scripts

/** Functions and classes that most programs begin with. */
const FIRST_CALLED = [
  ...['loadModel', 'initModel', 'loadTokenizer', 'mora', 'lora', 'moraLayer', 'train', 'connectRanks'],
  ...[
    'loadDataset',
    'readRows',
    'DataLoader',
    'AdamW',
    'schedule',
    'scope',
    'generate',
    'generateStream',
    'Chat',
    'serve',
  ],
  ...['evaluate', 'analyzeAdapter', 'mergeModel', 'exportAdapter', 'importanceMatrix', 'pushToHub', 'doctor'],
]

/** The pages where people and agents begin, and one whose trackers are looked at below. */
const ALWAYS = ['README.md', 'skills/mora/SKILL.md', 'docs/getting-started.md', 'docs/tracking.md']

let hub: StandIn
let trackers: Trackers

beforeAll(async () => {
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules', 'node-mora'))
  for (const name of ['ai', 'openai', 'zod'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  mkdirSync(samples)
  writeSamples(samples)
  hub = await StandIn.start()
  trackers = await Trackers.start(folder)
  const made = MADE.map((block) => ({
    ...block,
    page: 'test/docs/samples.ts',
    line: 1,
    treatment: { kind: 'run' } as const,
  }))
  await run('the samples', samples, made)
  fillHub(hub, samples)
})
afterAll(async () => {
  await hub.stop()
  await trackers.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Runs blocks in one process of their own, and fails with its output. */
async function run(name: string, workplace: string, toRun: readonly Block[]): Promise<void> {
  const tasks = toRun.map((block, i) => {
    const { code, language, treatment } = block
    const task = { where: whereOf(block), code, exitCode: treatment.kind === 'fail' ? treatment.exitCode : 0 }
    if (language === 'sh') {
      return { ...task, commands: commandsOf(code).map((text) => ({ text, mora: moraArguments(text) })) }
    }
    const module = join(workplace, `block-${i}.mjs`)
    writeFileSync(
      module,
      ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } })
        .outputText,
    )
    return { ...task, module }
  })
  const plan = `${workplace}.json`
  writeFileSync(plan, JSON.stringify({ folder: workplace, samples, root, blocks: tasks }))
  const child = spawn(process.execPath, [join(root, 'test/docs/run-page.mjs'), plan], {
    env: {
      ...environment(),
      HF_ENDPOINT: hub.endpoint,
      HF_HOME: join(folder, 'hub'),
      HF_TOKEN: 'hf_ofThisTest',
      MORA_CACHE: join(folder, 'cache'),
      ...trackers.environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 100_000,
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
  const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)))
  if (status !== 0) throw new Error(`${name} ended with ${status}:\n${said.slice(-4000)}`)
}

function environment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !/^(HF_|VITEST|NODE_OPTIONS)/.test(name))
  return Object.fromEntries(entries)
}

describe('blocks run', () => {
  const runnable = blocks.filter((block) => isRun(block) && ['sh', 'ts'].includes(block.language))

  const runPages = pages.filter((page) => runnable.some((block) => block.page === page))
  const others = drawn(
    'pages',
    runPages.filter((page) => !ALWAYS.includes(page)),
    3,
  )
  it.each(runPages.filter((page) => ALWAYS.includes(page) || others.includes(page)))('%s', async (page) => {
    const workplace = join(folder, page.replaceAll('/', '-'))
    mkdirSync(workplace)
    await run(
      page,
      workplace,
      runnable.filter((block) => block.page === page),
    )
  })

  it('of docstrings, each whole in itself', async () => {
    const workplace = join(folder, 'docstrings')
    mkdirSync(workplace)
    await run('docstrings', workplace, examples)
  })
})

it('what people call first has an example', () => {
  const called = new Set(examples.flatMap(({ code }) => [...code.matchAll(/\b[a-zA-Z]+(?=\()/g)].map(String)))
  expect([...called]).toEqual(expect.arrayContaining(FIRST_CALLED))
})

describe('docs/tracking.md', () => {
  const losses = () => linesOf('with-mlflow').flatMap(({ loss }) => (loss === undefined ? [] : [loss]))
  const linesOf = (output: string) =>
    readFileSync(join(folder, 'docs-tracking.md', output, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>)

  it('logs custom numbers', () => {
    const lines = linesOf('logged')
    expect(lines.map(({ perplexity }) => perplexity)).toEqual(lines.map(({ loss }) => Math.exp(loss!)))
  })

  it('sends MLflow every number of the run, with its step, and the end', () => {
    const batches = trackers.bodiesOf('/api/2.0/mlflow/runs/log-batch')
    type Metric = { key: string; value: number; step: number; timestamp: number }
    const metrics = batches.flatMap((body) => (body.metrics ?? []) as Metric[])
    const told = (name: string) => metrics.flatMap(({ key, value, step }) => (key === name ? [[step, value]] : []))
    expect(told('loss')).toEqual(losses().map((loss, i) => [i + 1, loss]))
    expect(told('evalLoss').map(([step]) => step)).toEqual([2, 4])
    expect(metrics.every(({ timestamp }) => Number.isInteger(timestamp))).toBe(true)
    expect(batches[0]).toMatchObject({
      run_id: 'a1b2',
      params: expect.arrayContaining([{ key: 'maxSteps', value: '4' }]),
    })
    expect(trackers.bodiesOf('/api/2.0/mlflow/runs/update')).toMatchObject([{ run_id: 'a1b2', status: 'FINISHED' }])
  })

  it('sends trackio and W&B the same', () => {
    const bodies = trackers.bodiesOf('/api/bulk_log') as { steps: number[]; metrics_list: Record<string, number>[] }[]
    const steps = [1, 2, 2, 3, 4, 4]
    expect(bodies.map(({ steps: [step] }) => step)).toEqual(steps)
    const [first, ...calls] = trackers.wandbCalls
    expect(first).toEqual(['init', { project: 'sums', config: expect.objectContaining({ maxSteps: 4 }) }])
    expect(calls.pop()).toEqual(['finish', null])
    expect(calls.map(([name, numbers]) => [name, numbers!.step])).toEqual(steps.map((step) => ['log', step]))
    expect(calls.flatMap(([, numbers]) => (numbers!.loss === undefined ? [] : [numbers!.loss]))).toEqual(losses())
  })
})

describe('blocks that are not run', () => {
  const checked = blocks.filter(({ treatment, language }) => treatment.kind === 'check' && language === 'sh')

  it.each(checked.map((block) => [whereOf(block), block] as const))(
    '%s is shell with options that exist',
    (_, block) => {
      const { status, stderr } = spawnSync('bash', ['-n'], { input: block.code, encoding: 'utf8' })
      expect(stderr).toBe('')
      expect(status).toBe(0)
      for (const command of commandsOf(block.code)) {
        const argv = moraArguments(command)
        if (argv) checkOptions(argv)
        const script = /^npm run (?:--silent )?([\w:-]+)/.exec(command)?.[1]
        if (script) expect(Object.keys(scripts)).toContain(script)
      }
    },
  )

  it('are parts of the files that they name', () => {
    for (const { treatment, code } of blocks) {
      if (treatment.kind === 'excerpt') expect(readFileSync(join(root, treatment.file), 'utf8')).toContain(code)
    }
  })

  it('are data that parses', () => {
    for (const { language, code } of blocks) {
      if (language === 'json') JSON.parse(code)
      if (language === 'jsonl') for (const line of code.split('\n')) JSON.parse(line)
      if (language === 'yaml') parseYaml(code)
    }
  })
})

function checkOptions(argv: readonly string[]): void {
  const parsed = parseArguments(argv, commands, { version: '0.0.0' })
  if (parsed.kind === 'command') parseOptions(parsed.command.schema, parsed.given, 'flags')
}

it('blocks of TypeScript compile in a strict project', () => {
  const compiled = blocks.filter(({ language, treatment }) => language === 'ts' && treatment.kind !== 'excerpt')
  const files = compiled.map((block) => {
    const path = join(folder, `${whereOf(block).replaceAll(/[/:]/g, '-')}.ts`)
    writeFileSync(path, block.code)
    return path
  })
  const compilerOptions = {
    target: 'es2022',
    module: 'nodenext',
    lib: ['es2023', 'esnext.disposable'],
    types: ['node'],
    typeRoots: [join(root, 'node_modules', '@types')],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const tsc = join(root, 'node_modules', 'typescript-7', 'bin', 'tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
  expect(files.length).toBeGreaterThan(5)
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
})

it('blocks have a language that is checked, or none', () => {
  const odd = blocks.filter(({ language }) => !['sh', 'ts', 'json', 'jsonl', 'yaml', ''].includes(language))
  expect(odd.map((block) => `${whereOf(block)}: ${block.language}`)).toEqual([])
})

it('links lead to files and headings that exist', () => {
  expect(pages.flatMap((page) => brokenLinks(root, page))).toEqual([])
})
