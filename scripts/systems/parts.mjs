/** Parts of a check of another system: its addon, built here, and what is tried with it. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const builder = fileURLToPath(new URL('../build-native.mjs', import.meta.url))

/** Runs a part, which returns a summary and throws if it failed, and prints a line for it. Returns whether it passed. */
export async function say(name, part) {
  const started = performance.now()
  const [mark, summary] = await attempt(part)
  console.log(`${mark} ${name}: ${summary} (${((performance.now() - started) / 1000).toFixed(0)} s)`)
  return mark === '✓'
}

async function attempt(part) {
  try {
    return ['✓', await part()]
  } catch (error) {
    return ['✗', error.message]
  }
}

/** Returns the part that builds the addon, unless it is newer than its sources. */
export function building(option, folder) {
  return () => {
    const { status } = spawnSync(process.execPath, [builder, option, '--if-needed'], { stdio: ['ignore', 2, 2] })
    if (status !== 0) throw new Error('it could not be built (see above)')
    return join(folder, 'Release', 'mora.node')
  }
}

/** Installs what a check needs; ends it where that is not to be had: with 2, or with 1 if the script failed otherwise. */
export function setUp(script, ...options) {
  const { status, stderr } = spawnSync('bash', [script, ...options], { encoding: 'utf8' })
  process.stderr.write(stderr)
  if (status === 0) return
  console.log(`skipped: ${stderr.trim().split('\n').at(-1)}`)
  process.exit(status === 3 ? 2 : 1)
}
