/**
 * The cases of `outputs` at times drawn from a seed: whatever happens to a run, it can be resumed, ends with the bits of an
 * undisturbed one, and its exit code is 0 only if it has reached its end. 3 times, 204 times in `npm run test:long`.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { drawn } from '../drawn.js'
import { hiddenIn, main, resultOf, start, trainInto } from '../faults/command.js'
import { lacksBuild, lacksLinux, needing } from '../needs.js'
import { lacksTerminals, withLostTerminal } from './lost-terminal.js'

const times = process.env.MORA_TEST_LONG ? 34 : 1
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const STEPS = 24

type Code = number | NodeJS.Signals | null

/** Disturbs a run `milliseconds` after its start; resolves with how it ended. */
type Happening = (argv: readonly string[], milliseconds: number) => Promise<Code>

/** Something is done to a process whose standard streams are these. */
function doing(act: (child: ChildProcess) => void, ...[out, error]: ('pipe' | 'ignore' | 'full')[]): Happening {
  return async (argv, milliseconds) => {
    const full = openSync('/dev/full', 'w')
    const stdio = ['ignore', out, error].map((kind) => (kind === 'full' ? full : kind)) as StdioOptions
    const child = spawn(process.execPath, [main, ...argv], { stdio })
    const ended = new Promise<Code>((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)))
    child.stdout?.resume()
    child.stderr?.resume()
    await Promise.race([ended, sleep(milliseconds)])
    act(child)
    return ended
  }
}

function leave({ stdout, stderr }: ChildProcess): void {
  stdout?.destroy()
  stderr?.destroy()
}

const losingTheTerminal: Happening = (argv, milliseconds) => withLostTerminal(argv, () => sleep(milliseconds))

/** How a run may end; a signal that comes before it begins ends the process. */
const happenings: [string, Code[], Happening][] = [
  ['its reader goes', [0], doing(leave, 'pipe', 'pipe')],
  [
    'it is interrupted, with its log on a full disk',
    [0, 130, 'SIGINT'],
    doing((run) => run.kill('SIGINT'), 'ignore', 'full'),
  ],
  [
    'it is to end, and its result cannot be written',
    [1, 130, 'SIGTERM'],
    doing((run) => run.kill('SIGTERM'), 'full', 'ignore'),
  ],
  [
    'it is interrupted together with its reader',
    [0, 130, 'SIGINT'],
    doing(
      (run) => {
        leave(run)
        run.kill('SIGINT')
      },
      'pipe',
      'pipe',
    ),
  ],
  ['it is hung up without a terminal', [0, 'SIGHUP'], doing((run) => run.kill('SIGHUP'), 'ignore', 'ignore')],
  ['its terminal goes away', [0, 129, 130], losingTheTerminal],
]

needing(lacksBuild, lacksLinux).describe('a run', { timeout: 1_800_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-happening-'))
  const [whole, output] = [join(folder, 'whole'), join(folder, 'out')]
  const argvFor = (place: string) => trainInto(place, '--max-steps', String(STEPS))
  let milliseconds = 0
  beforeAll(async () => {
    const began = performance.now()
    expect((await start(argvFor(whole)).ended).code).toBe(0)
    milliseconds = Math.ceil(performance.now() - began)
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  for (const [name, codes, happen] of drawn('happenings by the clock', happenings, 3))
    needing(happen === losingTheTerminal ? lacksTerminals : null).test(
      `goes on with the same bits when ${name}`,
      async () => {
        const random = randomStream(seed, 'happening', name)
        const seen = new Map<Code, number>()
        for (let time = 0; time < times; time++) {
          rmSync(output, { recursive: true, force: true })
          const code = await happen(argvFor(output), random.integer(milliseconds))
          seen.set(code, (seen.get(code) ?? 0) + 1)
          expect(codes).toContain(code)
          if (code !== 0) {
            const resumed = await start([...argvFor(output), '--resume']).ended
            expect(resumed.code, resumed.stderr).toBe(0)
          }
          expect(resultOf(output)).toEqual(resultOf(whole))
          expect(hiddenIn(output)).toEqual([])
        }
      },
    )
})
