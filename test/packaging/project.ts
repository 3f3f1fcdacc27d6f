/** A project outside of the repository that has installed node-mora, as a user's has. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DEMO_MODEL } from '../../lib/cli/demo.js'

export const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Said {
  status: number | null
  stdout: string
  stderr: string
}

export class Project {
  readonly folder = mkdtempSync(join(tmpdir(), 'mora-project-'))
  readonly package = join(this.folder, 'node_modules', 'node-mora')
  readonly #bin = join(this.folder, 'bin')

  /** `node` is the Node.js that everything in it runs with. */
  constructor(readonly node = process.execPath) {
    this.write('package.json', '{ "private": true }')
    mkdirSync(this.#bin)
    symlinkSync(node, join(this.#bin, 'node'))
    symlinkSync('/bin/sh', join(this.#bin, 'sh'))
  }

  write(name: string, text: string): string {
    writeFileSync(join(this.folder, name), text)
    return join(this.folder, name)
  }

  /** Runs a command in the project, without the tests' variables about addons. */
  run(command: string, args: string[], environment: NodeJS.ProcessEnv = {}): Said {
    const { MORA_BINARY, MORA_BUILD, MORA_BUILD_FOLDER, ...inherited } = process.env
    const path = [this.#bin, join(this.folder, 'node_modules', '.bin'), process.env.PATH].join(delimiter)
    const env = { ...inherited, PATH: path, ...environment }
    const { status, stdout, stderr } = spawnSync(command, args, { cwd: this.folder, encoding: 'utf8', env })
    return { status, stdout, stderr }
  }

  /** An environment in which there is Node.js and nothing else: no compiler, no CMake. */
  get bare(): NodeJS.ProcessEnv {
    return { PATH: [this.#bin, join(this.folder, 'node_modules', '.bin')].join(delimiter) }
  }

  /** `npm install` of tarballs; the output of their scripts is in `stderr`. */
  install(tarballs: string[], environment: NodeJS.ProcessEnv = {}, ...more: string[]): Said {
    const options = ['--prefer-offline', '--no-audit', '--no-fund', '--foreground-scripts', ...more]
    return this.run(process.execPath, [npm(), 'install', ...options, ...tarballs], environment)
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** npm as it runs without a shell and `env`. */
function npm(): string {
  const { stdout } = spawnSync('npm', ['root', '--global'], { encoding: 'utf8' })
  return join(stdout.trim(), 'npm', 'bin', 'npm-cli.js')
}

/** The tarball of this package from dist as it is. */
export function pack(into: string): string {
  const { stdout } = spawnSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', into], {
    cwd: root,
    encoding: 'utf8',
  })
  return join(into, stdout.trim())
}

/** Two steps of training that print their losses. `load` is a statement that defines `library`. */
export const training = (load: string): string => `${load}
async function main() {
  const { loadModel, mora, train } = library
  const model = await loadModel(${JSON.stringify(DEMO_MODEL)}, { device: 'cpu', threads: 1, dtype: 'float32' })
  model.addAdapter('facts', mora({ rank: 2 }))
  const options = { data: ${JSON.stringify(join(root, 'examples', 'facts.jsonl'))}, maxSteps: 2, overwrite: true }
  for await (const event of train(model, { ...options, output: 'out' })) if (event.type === 'step') console.log(event.loss)
}
main()
`
