/**
 * Runs before the tests of each file: skips tests that passed in the run whose outcomes are in MORA_TEST_OUTCOMES
 * (scripts/test.mjs).
 */
import { readFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach } from 'vitest'
import { keyOf, passedIn } from './outcomes.mjs'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const passed = passedIn(JSON.parse(readFileSync(process.env.MORA_TEST_OUTCOMES ?? '', 'utf8')))

/** @returns {string} as a report has it */
const nameOf = (/** @type {{ suite?: any, name: string }} */ { suite, name }) =>
  suite ? `${nameOf(suite)} ${name}` : name

beforeEach(({ task, skip }) => {
  if (passed.has(keyOf({ file: relative(root, task.file.filepath), name: nameOf(task) }))) skip('passed before')
})
