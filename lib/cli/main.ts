#!/usr/bin/env node
import { tooManyOpenFiles } from './open-files.js'

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
