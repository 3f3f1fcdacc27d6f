/** Mutants of TypeScript: Stryker makes them in a copy of the repository, and runs the tests that reach each. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Stryker } from '@stryker-mutator/core'

/** The parts of the repository that tests read. */
const COPIED = ['lib/**', 'test/**', 'scripts/mutation/**', 'package.json']

const CONFIG = {
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner'],
  vitest: { configFile: 'scripts/mutation/vitest.config.mjs' },
  // Operators, conditions and calls; these tests do not check error messages.
  mutator: {
    excludedMutations: [
      'ArrayDeclaration',
      'ArrowFunction',
      'BlockStatement',
      'ObjectLiteral',
      'Regex',
      'StringLiteral',
    ],
  },
  reporters: ['progress-append-only'],
  ignorePatterns: ['**', ...COPIED.map((path) => `!${path}`)],
  tempDirName: join('build', 'mutation'),
  disableTypeChecks: false,
  concurrency: 1,
  // Added to the tests' time: a busy machine is not an endless loop.
  timeoutMS: 20_000,
  // A looping mutant may allocate memory without end.
  testRunnerNodeArgs: ['--max-old-space-size=2048'],
}

/**
 * @param {string} root working directory
 * @param {string[]} files
 * @returns {Promise<import('./judge.mjs').Mutant[]>}
 */
export async function typescriptMutants(root, files) {
  process.chdir(root)
  const results = await new Stryker({ ...CONFIG, mutate: files }).runMutationTest()
  return results.flatMap(({ fileName, location, replacement, status }) => {
    const fate = FATES[status]
    if (fate === undefined) return []
    const file = fileName.slice(root.length + 1)
    return [{ file, line: location.start.line, text: changedLine(join(root, file), location, replacement), fate }]
  })
}

/** Stryker's verdict on a mutant; one that it does not run does not count. */
const FATES = {
  Killed: 'noticed',
  Timeout: 'endless',
  RuntimeError: 'noticed',
  Survived: 'unnoticed',
  NoCoverage: 'unnoticed',
}

/** The line on which a mutant begins, and what it is now. Lines and columns count from 1. */
function changedLine(path, { start, end }, replacement) {
  const lines = readFileSync(path, 'utf8').split('\n')
  const before = lines[start.line - 1].slice(0, start.column - 1)
  const after = lines[end.line - 1].slice(end.column - 1)
  return `${before}${replacement}${after}`.replace(/\s+/g, ' ').trim()
}
