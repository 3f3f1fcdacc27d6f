/**
 * The install step of the package: compiles the addon unless one is there that loads. An installation goes on without an addon,
 * whose absence the first use reports, except with MORA_BUILD=required. MORA_BUILD=off does nothing.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const choice = process.env.MORA_BUILD ?? ''
if (choice === 'off') process.exit(0)
if (choice !== '' && choice !== 'required') {
  const ways = 'required, off or nothing (MORA_BUILD_FOLDER names a folder of addons)'
  console.error(`node-mora: expected MORA_BUILD to be ${ways}, but it is "${choice}".`)
  process.exit(1)
}

// A checkout compiles its own sources, and dist may be older than lib.
if (existsSync(join(root, 'lib'))) end(compile())

const { binaryCandidates, usableFile } = await import(pathToFileURL(join(root, 'dist', 'native', 'binary.js')).href)
// Without MORA_BINARY, the platform's package comes last.
const candidate = binaryCandidates({ MORA_BINARY: process.env.MORA_BINARY }).at(-1)
const cause = whyUnusable(candidate)
if (cause === null) end(true)
if (process.env.MORA_BINARY)
  end(false, `MORA_BINARY names the only addon to try, ${candidate}, which cannot be used: ${cause}`)

const compiled = join(root, 'build', 'Release', 'mora.node')
// An addon that does not load was compiled for another system, as the files that it was linked from were.
if (existsSync(compiled) && whyUnusable(compiled) !== null) removeBuild()
if (!compile(`--reason=${candidate}: ${cause}`)) end(false)
const fault = whyUnusable(compiled)
end(fault === null, `the addon was compiled, but cannot be used: ${fault}`)

/** Returns whether the addon is there; otherwise the build has said why not. */
function compile(...reason) {
  const command = [join(root, 'scripts', 'build-native.mjs'), '--if-needed', ...reason]
  return spawnSync(process.execPath, command, { stdio: ['ignore', 2, 2] }).status === 0
}

function removeBuild() {
  const folder = join(root, 'build')
  try {
    rmSync(folder, { recursive: true })
  } catch (error) {
    end(false, `${folder} cannot be removed (${error.code}), whose addon does not load`)
  }
}

function whyUnusable(candidate) {
  try {
    usableFile(candidate, true)
    return null
  } catch (error) {
    return error.message.split('\n')[0]
  }
}

function end(isUsable, problem) {
  if (!isUsable && problem) console.error(`node-mora: ${problem}.`)
  process.exit(isUsable || choice !== 'required' ? 0 : 1)
}
