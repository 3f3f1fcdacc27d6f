/** Examples as programs of a project that has the package. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const { target, module } = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }

/** Writes an example as JavaScript into an empty folder, beside the packages that it imports, and returns its path. */
export function placeExample(folder: string, name: string): string {
  const source = readFileSync(join(root, 'examples', `${name}.ts`), 'utf8')
  const path = join(folder, `${name}.mjs`)
  writeFileSync(path, ts.transpileModule(source, { compilerOptions: { target, module } }).outputText)
  writeFileSync(join(folder, 'package.json'), '{}')
  const imports = source.matchAll(/ from '((?:@[\w-]+\/)?[\w-]+)(?=['/])/g)
  for (const imported of new Set(Array.from(imports, ([, found]) => found!))) {
    const place = join(folder, 'node_modules', imported)
    mkdirSync(dirname(place), { recursive: true })
    symlinkSync(imported === 'node-mora' ? root : join(root, 'node_modules', imported), place)
  }
  return path
}

/** Starts an example with arguments. */
export function startExample(path: string, argv: readonly string[]): ChildProcess {
  return spawn(process.execPath, [path, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Runs an example and returns its output; an exit code other than 0 is an error with what it said. */
export async function runExample(path: string, ...argv: readonly string[]): Promise<string> {
  const child = startExample(path, argv)
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) child[name]!.on('data', (text) => (said[name] += text))
  const code = await new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)))
  if (code !== 0) throw new Error(`The example ended with ${code}:\n${said.stdout}${said.stderr}`)
  return said.stdout
}
