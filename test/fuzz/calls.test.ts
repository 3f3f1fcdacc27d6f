/**
 * Whatever JavaScript passes to any function of the package or of its addon, it gets a result or a JavaScript error: no crash,
 * no hang, no change of other objects. `npm run test:long` makes 100,000 calls under AddressSanitizer and
 * UndefinedBehaviorSanitizer. See calls/child.mjs.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { quickFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { lacksSanitizers, sanitizedEnvironment } from '../sanitizers.js'

const child = join(import.meta.dirname, 'calls', 'child.mjs')
const golden = join(import.meta.dirname, '..', 'golden')
const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const minutes = 60_000

interface Report {
  calls: number
  succeeded: number
  /** Everything that can be called. */
  targets: string[]
  /** Functions of which no call succeeded, and why the first was refused. */
  unknown: string[]
  problems: string[]
}

/** Calls of one process, which are a function of the seed. */
function callsOf(seed: number, count: number, environment: Record<string, string>): Promise<Report> {
  const scratch = quickFolder()
  const journal = () =>
    existsSync(join(scratch, 'journal')) ? readFileSync(join(scratch, 'journal'), 'utf8').trim() : ''
  return new Promise<Report>((resolve, reject) => {
    const started = spawn(process.execPath, ['--expose-gc', child, JSON.stringify({ seed, count, scratch, golden })], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, HF_HUB_OFFLINE: '1', HF_HOME: scratch, XDG_CACHE_HOME: scratch, ...environment },
    })
    let [output, errors] = ['', '']
    started.stdout.setEncoding('utf8').on('data', (part) => (output += part))
    started.stderr.setEncoding('utf8').on('data', (part) => (errors = (errors + part).slice(-20_000)))
    // A call that never returns leaves no other way to tell which it was.
    let before = ''
    const watch = setInterval(() => {
      const now = journal()
      if (now === before) started.kill('SIGKILL')
      before = now
    }, 2 * minutes)
    started.on('close', (code, signal) => {
      clearInterval(watch)
      if (code === 0 && output !== '') resolve(JSON.parse(output) as Report)
      else reject(new Error(`seed ${seed} ended with ${signal ?? code} in the call ${journal()}\n${errors}`))
    })
  }).finally(() => rmSync(scratch, { recursive: true, force: true }))
}

function tell({ calls, succeeded, targets }: Report): void {
  console.log(
    `${calls} calls of ${targets.length} functions, seed ${seed}: ${Math.round((100 * succeeded) / calls)} % succeeded`,
  )
}

needing(lacksBuild).describe('calls of everything that is exported, with hostile arguments', () => {
  it('give a result or a JavaScript error', { timeout: 10 * minutes }, async () => {
    const report = await callsOf(seed, 2000, {})
    tell(report)
    expect(report.problems).toEqual([])
    expect(report.unknown, 'give calls/starts.mjs valid arguments of these').toEqual([])
    expect(report.succeeded / report.calls).toBeGreaterThan(0.2)
  })
})

needing(lacksSanitizers).describe('100,000 calls, under sanitizers', () => {
  let environment: Record<string, string>
  beforeAll(async () => {
    environment = await sanitizedEnvironment('address')
  }, 60 * minutes)

  const parts = Array.from({ length: 20 }, (_, part) => 1000 * seed + part)
  it.each(parts)('seed %i', { timeout: 60 * minutes }, async (part) => {
    const report = await callsOf(part, 5000, environment)
    tell(report)
    expect(report.problems).toEqual([])
  })
})
