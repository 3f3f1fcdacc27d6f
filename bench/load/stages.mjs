import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/**
 * Runs a command to its end; resolves with the seconds from its start at which it wrote each stage's line, by stage.
 * `stageOf` returns the stage of a line of stdout or stderr, or undefined.
 * @param {import('../common/side-process.mjs').Command} command
 * @param {(line: string) => string | undefined} stageOf
 */
export async function stageTimes([command, commandArguments, environment = {}], stageOf) {
  const start = performance.now()
  const child = spawn(command, commandArguments, {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  /** @type {Record<string, number>} */
  const times = {}
  /** @type {string[]} */
  const said = []
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on('line', (line) => {
      const stage = stageOf(line)
      if (stage === undefined) said.push(line)
      else times[stage] = (performance.now() - start) / 1000
    })
  }
  const status = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (status !== 0) throw new Error(`${command} ${commandArguments[0]} failed: ${said.slice(-20).join('\n')}`)
  return times
}
