#!/usr/bin/env node
import { packageVersion } from '../package-facts.js'
import { commands } from './commands/index.js'
import { runCommandLine } from './run-command.js'
import { endOnClosedPipe, processTerminal } from './terminal.js'

endOnClosedPipe([process.stdout, process.stderr])
process.exitCode = await runCommandLine(process.argv.slice(2), {
  commands,
  version: packageVersion(),
  terminal: processTerminal(),
})
