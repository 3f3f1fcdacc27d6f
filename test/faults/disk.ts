/** A folder whose changes fail or end the process: see disk.cpp. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { RandomStream } from '../../lib/common/random.js'
import { quickFolder } from '../io/temporary.js'
import { lack, lacksBuild, lacksLinux } from '../needs.js'
import { type Ending, start } from './command.js'
import { drawShares, JournalledFolder, readTree, writeTree } from './power-cut.js'

const compiler = ['c++', 'g++', 'clang++'].find((name) => spawnSync(name, ['--version']).status === 0)

/** Every machine that built the addon has what these tests need. */
export const lacksDisk = lacksLinux ?? lack('a C++ compiler', compiler) ?? lacksBuild

/** The first change of files below the folder that fails, from 1; or microseconds after the first change. */
export type Moment = { at: number } | { after: number }

export type Fault = { kind: 'ENOSPC' | 'EIO' | 'EROFS'; at: number } | ({ kind: 'kill' } & Moment)

/** How a process ended, which may have been killed; counts are valid if it was not. */
export interface CountedEnding extends Ending {
  changes: number
  /** From the first change on. */
  microseconds: number
}

/** A folder of its own whose changes are counted; it is removed with it. */
export class FailingDisk implements Disposable {
  readonly #scratch = mkdtempSync(join(tmpdir(), 'mora-disk-'))
  readonly #memory = quickFolder()
  readonly #folder = join(this.#memory, 'disk')
  readonly #library = join(this.#scratch, 'disk.so')
  readonly #journal = join(this.#memory, 'journal')

  constructor() {
    mkdirSync(this.#folder)
    const source = join(import.meta.dirname, 'disk.cpp')
    const options = ['-std=c++20', '-O1', '-shared', '-fPIC', '-pthread', source, '-o', this.#library, '-ldl']
    const { status, stderr } = spawnSync(compiler!, options, { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
  }

  at(name: string): string {
    return join(this.#folder, name)
  }

  /** Runs `mora`. */
  async run(argv: readonly string[], fault?: Fault, journal = ''): Promise<CountedEnding> {
    const count = join(this.#scratch, 'count')
    rmSync(count, { force: true })
    const ending = await start(argv, {
      ...this.variables(fault),
      MORA_FAULT_COUNT: count,
      MORA_FAULT_JOURNAL: journal,
    }).ended
    const [changes = 0, microseconds = 0] = existsSync(count) ? readFileSync(count, 'utf8').split(' ').map(Number) : []
    return { ...ending, changes, microseconds }
  }

  /** The environment that tells a process which fault to inject. */
  variables(fault?: Fault): Record<string, string> {
    return {
      LD_PRELOAD: [process.env.LD_PRELOAD, this.#library].filter(Boolean).join(':'),
      UV_USE_IO_URING: '0',
      MORA_FAULT_FOLDER: this.#folder,
      ...(fault && { MORA_FAULT: fault.kind }),
      ...(fault && 'at' in fault && { MORA_FAULT_AT: String(fault.at) }),
      ...(fault && 'after' in fault && { MORA_FAULT_AFTER: String(fault.after) }),
    }
  }

  /** Runs `mora` until the power is cut, at the latest when it has ended; the folder then holds what may be left. */
  async runUntilCut(
    argv: readonly string[],
    moment: Moment,
    random: RandomStream,
    shares = drawShares(random),
  ): Promise<CountedEnding> {
    rmSync(this.#journal, { force: true })
    const folder = new JournalledFolder(this.#folder)
    const ending = await this.run(argv, { kind: 'kill', ...moment }, this.#journal)
    if (existsSync(this.#journal)) folder.replay(readFileSync(this.#journal))
    if (!isDeepStrictEqual(folder.now, readTree(this.#folder))) throw new Error('The journal is not what was done.')
    writeTree(this.#folder, folder.afterCut(shares, random))
    return ending
  }

  [Symbol.dispose](): void {
    for (const folder of [this.#scratch, this.#memory]) rmSync(folder, { recursive: true, force: true })
  }
}
