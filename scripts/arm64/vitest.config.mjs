/**
 * The tests on arm64: vitest's own process compiles them on this machine, and only the processes that run them are of the
 * other architecture.
 */
import { fileURLToPath } from 'node:url'
import configuration from '../../vitest.config.ts'

process.execPath = fileURLToPath(new URL('node.sh', import.meta.url))

// Everything takes tens of times as long; vitest has no setting for its limit of a minute on the start of a process.
const patience = 1_800_000
const { setTimeout } = globalThis
const patientTimeout = (run, delay, ...rest) => setTimeout(run, delay >= 60_000 ? patience : delay, ...rest)
globalThis.setTimeout = Object.assign(patientTimeout, setTimeout)

export default { ...configuration, test: { ...configuration.test, testTimeout: patience, hookTimeout: patience } }
