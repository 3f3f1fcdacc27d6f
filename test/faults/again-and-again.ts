import { rmSync } from 'node:fs'
import { expect } from 'vitest'
import { type Ending, everythingOf, hiddenIn } from './command.js'
import type { CountedEnding, FailingDisk } from './disk.js'

export interface Disturbance {
  /** How often the run is to be killed. */
  deaths: number
  /** Starts or resumes a run, and lets it die, unless it reaches its end first. */
  run(argv: readonly string[], undisturbed: CountedEnding): Promise<Ending>
  /** Sees how each run ended. */
  see?(ending: Ending): void
}

/**
 * Resumes a run that is killed again and again until it ends, and starts new ones until `times` have died. The result always
 * equals that of an undisturbed run, and nothing else is left.
 */
export async function expectSameEnd(
  disk: FailingDisk,
  name: string,
  argvFor: (output: string) => string[],
  { deaths, run, see }: Disturbance,
): Promise<void> {
  const [whole, output] = [disk.at(`${name}, undisturbed`), disk.at(name)]
  for (const folder of [whole, output]) rmSync(folder, { recursive: true, force: true })
  const undisturbed = await disk.run(argvFor(whole))
  expect(undisturbed.code, undisturbed.stderr).toBe(0)
  const expected = everythingOf(whole)
  const argv = [...argvFor(output), '--resume']
  for (let died = 0; ; ) {
    const isLast = died === deaths
    const ending = await (isLast ? disk.run(argv) : run(argv, undisturbed))
    see?.(ending)
    if (ending.signal === 'SIGKILL') {
      died++
      continue
    }
    expect(ending.code, ending.stderr).toBe(0)
    expect(everythingOf(output)).toEqual(expected)
    if (isLast) break
    // The rest of the run ended before it was killed.
    rmSync(output, { recursive: true })
  }
  expect(hiddenIn(output)).toEqual([])
}
