/** Parts of the Windows check. Each returns a summary, and throws if it failed. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { run } from '../packing/tools.mjs'
import { bundleTest } from './bundle.mjs'
import { driveC, inRoot, onZ, runNode, startNode } from './wine.mjs'

/** Spaces, letters beyond ASCII, and drive C, while the model is on Z. */
const folder = join(driveC, 'mora täst')
const env = { MORA_BINARY: onZ(inRoot('build-windows', 'Release', 'mora.node')) }
const main = onZ(inRoot('dist', 'cli', 'main.js'))
const model = onZ(inRoot('assets', 'demo-model'))
const mora = (...options) => runNode([main, ...options], { cwd: folder, env })

/** A folder of its own for each part. */
export function begin() {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
}

export async function files() {
  const root = onZ(inRoot()).replace(/\\$/, '')
  return (await runNode([onZ(inRoot('scripts', 'windows', 'files.mjs')), root], { cwd: folder, env })).trim()
}

/** Operations, gradients and training steps against golden values. */
export async function doctor() {
  const { status, stdout, stderr } = await startNode([main, 'doctor', '--check', '--json'], { cwd: folder, env }).ended
  assert.equal(status, 0, stdout + stderr)
  const { check, devices } = JSON.parse(stdout)
  assert.match(check.system, /^win32/)
  return `${check.results.length} checks passed on ${devices[0].name} (${devices[0].detail})`
}

/** The platform's package, packed and installed beside node-mora in a project, where the demo runs. */
export async function packaged() {
  const packages = inRoot('build', 'windows', 'packages')
  rmSync(packages, { recursive: true, force: true })
  run(process.execPath, [inRoot('scripts', 'pack.mjs'), '--only', 'win32-x64', '--into', packages])
  const archives = readdirSync(packages).filter((name) => name.endsWith('.tgz'))
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  // npm runs on this machine, for which the package is not.
  const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const paths = archives.map((name) => join(packages, name))
  run('npm', ['install', '--force', '--os=win32', '--cpu=x64', ...quietly, ...paths], { cwd: folder })
  const command = 'C:\\mora täst\\node_modules\\node-mora\\dist\\cli\\main.js'
  const said = await runNode([command, 'demo'], { cwd: folder })
  const learnt = /^MoRA +\S+ .* (\d+ of \d+)$/m.exec(said)?.[1]
  assert.ok(learnt, said)
  const sizes = archives.map((name) => `${name} ${(statSync(join(packages, name)).size / 1e6).toFixed(1)} MB`)
  return `${sizes.join(', ')}; mora demo: MoRA answered ${learnt}`
}

/** Tests of operations and golden training runs, each file in a process of its own. */
export async function tests() {
  const operations = readdirSync(inRoot('test', 'operations')).filter((name) => name.endsWith('.test.ts'))
  const files = [...operations.map((name) => `test/operations/${name}`), 'test/golden/tiny-training.test.ts']
  const bundle = inRoot('build', 'windows', 'test.mjs')
  let passed = 0
  for (const file of files) {
    await bundleTest(file, bundle)
    const report = await runNode(['--test-reporter=tap', onZ(bundle)], { cwd: folder, env })
    passed += Number(/^# pass (\d+)$/m.exec(report)?.[1])
  }
  assert.ok(passed > 1000, `${passed} passed`)
  return `${passed} passed in ${files.length} files`
}

const training = ['train', '--model', model, '--max-steps', '8', '--save-every', '2', '--threads', '2', '--quiet']
const adapterOf = (run) => readFileSync(join(folder, run, 'adapter_model.safetensors'))

/** Rows with Windows's ends of lines train as others do, and a run that is killed resumes to the same bytes. */
export async function train() {
  const rows = readFileSync(inRoot('examples', 'facts.jsonl'), 'utf8')
  writeFileSync(join(folder, 'Zeilen.jsonl'), rows.replaceAll('\n', '\r\n'))
  writeFileSync(join(folder, 'lines.jsonl'), rows)
  await mora(...training, '--data', '.\\Zeilen.jsonl', '--output', 'Läufe\\erster Lauf')
  await mora(...training, '--data', 'C:\\mora täst\\lines.jsonl', '--output', 'whole')
  assert.ok(adapterOf('Läufe/erster Lauf').equals(adapterOf('whole')), 'ends of lines change the adapter')

  const killed = startNode([main, ...training, '--data', 'lines.jsonl', '--output', 'killed'], { cwd: folder, env })
  while (!existsSync(join(folder, 'killed', 'checkpoints', 'step-000002'))) await pause(20)
  killed.kill()
  await killed.ended
  const isCut = !existsSync(join(folder, 'killed', 'adapter_model.safetensors'))
  await mora(...training, '--data', 'lines.jsonl', '--output', 'killed', '--resume')
  assert.ok(adapterOf('killed').equals(adapterOf('whole')), 'a killed run resumes to another adapter')
  return `8 steps from rows with CRLF and LF, and again after a kill${isCut ? '' : ' at the end'}, gave equal bytes`
}

/** A run saves its state when Ctrl-Break is pressed, and resumes to the bytes of one that was left alone. */
export async function breaks() {
  const press = join(driveC, 'press-break.exe')
  const source = inRoot('scripts', 'windows', 'press-break.c')
  execFileSync('x86_64-w64-mingw32-gcc', ['-municode', '-O1', '-Wall', '-Werror', '-static', '-o', press, source])
  writeFileSync(join(folder, 'rows.jsonl'), readFileSync(inRoot('examples', 'facts.jsonl')))
  const run = [...training, '--max-steps', '40', '--save-every', '20', '--data', 'rows.jsonl']
  await mora(...run, '--output', 'whole')

  const begun = 'C:\\mora täst\\stopped\\metrics.jsonl'
  const by = [onZ(press), begun, '--']
  const stopped = await startNode([main, ...run, '--output', 'stopped'], { cwd: folder, env, by }).ended
  assert.equal(stopped.status, 130, stopped.stderr)
  const steps = /^steps +(\d+) \(stopped/m.exec(stopped.stdout)?.[1]
  assert.ok(steps, stopped.stdout)
  await mora(...run, '--output', 'stopped', '--resume')
  assert.ok(adapterOf('stopped').equals(adapterOf('whole')), 'a run that Ctrl-Break stopped resumes to another adapter')
  return `stopped after ${steps} of 40 steps, and resumed to equal bytes`
}

export async function use() {
  writeFileSync(join(folder, 'rows.jsonl'), readFileSync(inRoot('examples', 'facts.jsonl')))
  await mora(...training, '--data', 'rows.jsonl', '--output', 'out')
  await mora('merge', '--model', model, '--adapter', 'out', '--output', 'zusammen geführt')
  const written = readdirSync(join(folder, 'zusammen geführt'))
  assert.ok(written.includes('model.safetensors'), written.join())
  const asked = ['--prompt', 'Grüße', '--raw', '--max-new-tokens', '8', '--temperature', '0']
  const text = await mora('generate', '--model', 'zusammen geführt', ...asked)
  const { status, stdout, stderr } = await startNode([main, 'generate', '--model', 'fehlt', ...asked], {
    cwd: folder,
    env,
  }).ended
  assert.notEqual(status, 0, stdout)
  return `merged, and generated ${JSON.stringify(text.trim())}; refused: ${stderr.trim().split('\n').at(-1)}`
}

/** The server, asked over loopback by a program outside Wine. */
export async function serve() {
  const server = startNode([main, 'serve', '--model', model, '--port', '0'], { cwd: folder, env })
  try {
    let url
    for (let left = 1200; !url && left > 0; left--) {
      url = /http:\/\/[\d.:]+/.exec(server.stdout() + server.stderr())?.[0]
      await pause(100)
    }
    assert.ok(url, server.stdout() + server.stderr())
    const body = JSON.stringify({ model: 'demo-model', prompt: 'Grüße', max_tokens: 4 })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body })
    const { choices } = /** @type {{ choices: { text: string }[] }} */ (await answer.json())
    assert.equal(answer.status, 200)
    return `${url} answered ${JSON.stringify(choices[0].text)}`
  } finally {
    server.kill()
    await server.ended
  }
}
