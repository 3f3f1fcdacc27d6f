/**
 * Runs one test file and writes what came of it as JSON.
 *
 *     node scripts/check-gpu/run-tests.mjs test/golden/layer.test.js --json result.json [--only PATTERN]
 *
 * Ends with 1 if a test failed or none ran.
 */
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { startTests } from '@vitest/runner'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, only: { type: 'string' } },
})
const [file] = positionals

/** What the runner asks of its surroundings. */
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
}

const started = performance.now()
const [ran] = await startTests([resolve(file)], runner)
const result = { file, passed: 0, failed: 0, skipped: 0, failures: [] }
note(ran, [])
result.seconds = (performance.now() - started) / 1000
for (const { name, message } of result.failures) console.error(`${file}: ${name}\n  ${message}`)
if (options.json) writeFileSync(options.json, JSON.stringify(result))
process.exit(result.failed > 0 || result.passed === 0 ? 1 : 0)

function note(task, above) {
  const names = task.type === 'suite' && above.length === 0 && task.filepath ? [] : [...above, task.name]
  const state = task.result?.state
  if (task.type === 'test') result[state === 'pass' ? 'passed' : state === 'fail' ? 'failed' : 'skipped']++
  // A suite fails with its tests, and also by itself: in its hooks or while it is read.
  const errors = state === 'fail' ? (task.result.errors ?? []) : []
  if (task.type !== 'test' && errors.length > 0) result.failed++
  for (const { message } of errors) result.failures.push({ name: names.join(' > ') || '(the file)', message })
  for (const child of task.tasks ?? []) note(child, names)
}
