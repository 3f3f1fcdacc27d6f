/** A folder whose changes fail or end the process: see disk.cpp. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Ending, hasCommand, start } from './command.js'

const compiler = ['c++', 'g++', 'clang++'].find((name) => spawnSync(name, ['--version']).status === 0)

/** Whether these tests can run: what they need is there wherever the addon was built. */
export const canFail = process.platform === 'linux' && compiler !== undefined && hasCommand

export interface Fault {
  kind: 'kill' | 'ENOSPC' | 'EIO' | 'EROFS'
  /** Which change of files below the folder is the first that fails, from 1. */
  at: number
}

/** A folder of its own whose changes are counted; it is removed with it. */
export class FailingDisk implements Disposable {
  readonly #scratch = mkdtempSync(join(tmpdir(), 'mora-disk-'))
  readonly #folder = join(this.#scratch, 'disk')
  readonly #library = join(this.#scratch, 'disk.so')

  constructor() {
    const source = join(import.meta.dirname, 'disk.cpp')
    const options = ['-std=c++20', '-O1', '-shared', '-fPIC', source, '-o', this.#library, '-ldl']
    const { status, stderr } = spawnSync(compiler!, options, { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
  }

  at(name: string): string {
    return join(this.#folder, name)
  }

  /** Runs `mora`; `changes` counts those of a process that was not killed. */
  async run(argv: readonly string[], fault?: Fault): Promise<Ending & { changes: number }> {
    const count = join(this.#scratch, 'count')
    rmSync(count, { force: true })
    const ending = await start(argv, {
      LD_PRELOAD: [process.env.LD_PRELOAD, this.#library].filter(Boolean).join(':'),
      UV_USE_IO_URING: '0',
      MORA_FAULT_FOLDER: this.#folder,
      MORA_FAULT_COUNT: count,
      ...(fault && { MORA_FAULT: fault.kind, MORA_FAULT_AT: String(fault.at) }),
    }).ended
    return { ...ending, changes: existsSync(count) ? Number(readFileSync(count, 'utf8')) : 0 }
  }

  [Symbol.dispose](): void {
    rmSync(this.#scratch, { recursive: true, force: true })
  }
}
