#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8'
import { causeOfImportError, tooManyOpenFiles } from './open-files.js'

// By default young objects get up to 48 MiB, which they hardly need and never free.
setFlagsFromString('--semi-space-growth-factor=1')
try {
  // Node.js opens the files of all static imports at the same time.
  const { runProcess } = await import('./run-process.js')
  await runProcess()
} catch (error) {
  const message = tooManyOpenFiles(causeOfImportError(error))
  if (message === undefined) throw error
  process.stderr.write(`mora: ${message}\n`)
  process.exitCode = 1
}
