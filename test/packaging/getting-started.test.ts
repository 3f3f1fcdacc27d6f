/**
 * The first page of the documentation, step by step, in an empty folder with an installed package, in `npm run test:long`. In each
 * run, install.test.ts installs the package, and test/docs runs the page's blocks.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeAll, expect } from 'vitest'
import { binaryCandidates } from '../../lib/native/binary.js'
import { type Block, blocksOf, commandsOf } from '../docs/blocks.js'
import { fillHub, MADE, writeSamples } from '../docs/samples.js'
import { StandIn } from '../hub/stand-in.js'
import { lacksLong, needing } from '../needs.js'
import { pack } from './project.js'

const scratch = mkdtempSync(join(tmpdir(), 'mora-first-steps-'))
const [project, samples] = [join(scratch, 'project'), join(scratch, 'samples')]
const blocks = blocksOf('docs/getting-started.md')
const takesTypeScript = Boolean((process.features as { typescript?: unknown }).typescript)
let hub: StandIn
let tarball: string

beforeAll(async () => {
  for (const folder of [project, samples]) mkdirSync(folder)
  hub = await StandIn.start()
  tarball = pack(scratch)
  writeSamples(samples)
})
afterAll(async () => {
  await hub.stop()
  rmSync(scratch, { recursive: true, force: true })
})

/** Runs a command as a user with Node.js and npm would, with the addon in the build's place. */
async function run(command: string, cwd = project): Promise<void> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(HF_|VITEST|NODE_OPTIONS|MORA_|npm_)/.test(name))
  const paths = process.env.PATH!.split(':').filter((path) => !path.includes('node_modules'))
  const env = {
    ...Object.fromEntries(inherited),
    PATH: paths.join(':'),
    HF_ENDPOINT: hub.endpoint,
    HF_HOME: join(scratch, 'hub'),
    MORA_CACHE: join(scratch, 'cache'),
    MORA_BINARY: binaryCandidates().find(existsSync)!,
  }
  const child = spawn('bash', ['-euo', 'pipefail', '-c', command], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
  const status = await new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)))
  expect(status, `${command}:\n${said}`).toBe(0)
}

/** Deviations of the test: no system packages, and no compiler. */
function asHere(command: string): string | null {
  if (command.startsWith('apt-get ')) return null
  return command.replace('./node-mora-0.1.0.tgz', `--prefer-offline --no-audit --no-fund --ignore-scripts ${tarball}`)
}

async function follow({ language, code }: Block): Promise<void> {
  if (language === 'jsonl') writeFileSync(join(project, 'train.jsonl'), code)
  if (language === 'ts') writeFileSync(join(project, 'train.ts'), code)
  if (language !== 'sh') return
  for (const command of commandsOf(code)) {
    if (command === 'node train.ts' && !takesTypeScript) await runTranspiled()
    else if (asHere(command) !== null) await run(asHere(command)!)
    if (command.startsWith('npm install')) await makeModel()
  }
}

/** As a Node.js that runs TypeScript. */
async function runTranspiled(): Promise<void> {
  const { code } = blocks.find(({ language }) => language === 'ts')!
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
  writeFileSync(join(project, 'train.js'), ts.transpileModule(code, { compilerOptions }).outputText)
  await run('node train.js')
}

/** A tiny model under the name of the real one, made by the installed command. */
async function makeModel(): Promise<void> {
  const command = MADE[0]!.code.replace(/^mora /, `"${join(project, 'node_modules', '.bin', 'mora')}" `)
  await run(command, samples)
  fillHub(hub, samples)
  writeFileSync(join(project, 'test.jsonl'), '{"prompt": "What is 2 + 2?", "completion": "2 + 2 = 4. #### 4"}\n')
}

needing(lacksLong).it('every step of getting started works in an empty folder', { timeout: 600_000 }, async () => {
  expect(blocks.filter(({ language }) => language === 'ts')).toHaveLength(1)
  expect(blocks.filter(({ language }) => language === 'sh').length).toBeGreaterThan(5)
  for (const block of blocks) await follow(block)
  for (const name of ['out', 'merged.gguf', 'from-typescript']) expect(existsSync(join(project, name)), name).toBe(true)
})
