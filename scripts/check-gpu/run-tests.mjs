/**
 * Runs one test file and writes its outcome as JSON.
 *
 *     node scripts/check-gpu/run-tests.mjs test/golden/layer.test.js --json result.json [--only PATTERN]
 *
 * Writes the JSON after each test. Ends with 1 if a test failed or none ran.
 */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { startTests } from '@vitest/runner'
import { keep } from '../../bench/common/keep.mjs'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, only: { type: 'string' } },
})
const [file] = positionals

/**
 * The environment that vitest's runner expects.
 * @type {any}
 */
const runner = {
  config: {
    root: process.cwd(),
    name: 'gpu',
    setupFiles: [],
    passWithNoTests: false,
    allowOnly: true,
    testNamePattern: options.only && new RegExp(options.only),
    sequence: { seed: 0, hooks: 'stack', setupFiles: 'list', shuffle: false, concurrent: false },
    maxConcurrency: 1,
    testTimeout: 600_000,
    hookTimeout: 600_000,
    retry: 0,
    includeTaskLocation: false,
    chaiConfig: undefined,
    tags: [],
  },
  importFile: (path) => import(pathToFileURL(path).href),
  onCollected: ([collected]) => {
    running = collected
  },
  onAfterRunTask: () => keep(options.json, resultOf(running)),
}

const started = performance.now()
let running
const [ran] = await startTests([resolve(file)], runner)
const result = resultOf(ran)
for (const { name, message } of result.failures) console.error(`${file}: ${name}\n  ${message}`)
keep(options.json, result)
process.exit(result.failed > 0 || result.passed === 0 ? 1 : 0)

/** How many of the file's tests have passed, failed and been skipped. */
function resultOf(tasks) {
  const result = { file, passed: 0, failed: 0, skipped: 0, failures: [] }
  note(result, tasks, [])
  result.seconds = (performance.now() - started) / 1000
  return result
}

function note(result, task, above) {
  const names = task.type === 'suite' && above.length === 0 && task.filepath ? [] : [...above, task.name]
  const state = task.result?.state
  const waiting = task.mode === 'run' && (state === undefined || state === 'run' || state === 'queued')
  if (task.type === 'test' && !waiting) result[{ pass: 'passed', fail: 'failed' }[state] ?? 'skipped']++
  // A suite fails with its tests, and also by itself: in its hooks or while it is loaded.
  const errors = state === 'fail' ? (task.result.errors ?? []) : []
  if (task.type !== 'test' && errors.length > 0) result.failed++
  for (const { message } of errors) result.failures.push({ name: names.join(' > ') || '(the file)', message })
  for (const child of task.tasks ?? []) note(result, child, names)
}
