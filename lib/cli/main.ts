#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8'
import { tooManyOpenFiles } from './open-files.js'

// Otherwise young objects get up to 48 MiB, which they hardly need and never give back.
setFlagsFromString('--semi-space-growth-factor=1')
try {
  // Node.js opens the files of everything that is imported at the same time.
  const { runProcess } = await import('./run-process.js')
  await runProcess()
} catch (error) {
  const message = tooManyOpenFiles(error)
  if (message === undefined) throw error
  process.stderr.write(`mora: ${message}\n`)
  process.exitCode = 1
}
