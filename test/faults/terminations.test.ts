import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { lacksBuild, needing } from '../needs.js'
import { lacksSanitizers, type Sanitizer, sanitizedEnvironment } from '../sanitizers.js'
import { run } from '../simt/programs.js'

const program = join(import.meta.dirname, 'terminations.mjs')
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const minutes = 60_000

async function terminate(rounds: number, of: number, environment: Record<string, string> = {}): Promise<void> {
  const { succeeds, text } = await run(process.execPath, [program, `${rounds}`, `${of}`], environment)
  expect(succeeds, text).toBe(true)
  const { before, after } = JSON.parse(text.trim().split('\n').at(-1)!) as { before: number; after: number }
  expect(after).toBe(before)
}

needing(lacksBuild).describe('workers that are terminated with work pending', () => {
  it('leave the process whole, and their memory', { timeout: 5 * minutes }, () => terminate(12, seed))
})

needing(lacksSanitizers).describe.each<Sanitizer>(['address', 'thread'])(
  '1,000 terminations, with the %s sanitizer',
  (sanitizer) => {
    let environment: Record<string, string>
    beforeAll(async () => {
      environment = await sanitizedEnvironment(sanitizer)
    }, 60 * minutes)

    // In parts: under a sanitizer, a process keeps much memory of every ended thread.
    it.each([1, 2, 3, 4])('part %i of 4', { timeout: 30 * minutes }, (part) =>
      terminate(250, 4 * seed + part, environment),
    )
  },
)
