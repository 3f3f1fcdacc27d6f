/** The tests that Stryker runs: Stryker's own configuration of vitest is for one project. */
import { defineConfig } from 'vitest/config'
import { typescript } from './subjects.mjs'

export default defineConfig({ test: { include: typescript.flatMap(({ tests }) => tests), testTimeout: 20_000 } })
