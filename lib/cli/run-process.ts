import { speakAs } from '../common/option-names.js'
import { packageVersion } from '../common/package-info.js'
import { commands } from './commands/index.js'
import { runCommandLine } from './run-command.js'
import { endWithWork } from './terminal/interrupt.js'
import { processTerminal, releaseLostTerminals, survive } from './terminal/terminal.js'

/** Runs the command line of this process, and ends the process. */
export async function runProcess(): Promise<void> {
  speakAs('flags')
  survive(process)
  releaseLostTerminals()
  endWithWork()
  process.exitCode = await runCommandLine(process.argv.slice(2), {
    commands,
    version: packageVersion(),
    terminal: processTerminal(),
  })
}
