/** The build by node-gyp, which tools that rebuild addons call (electron-rebuild, `npm rebuild` of old versions of npm). */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import { lack, needing } from '../needs.js'
import { root } from './project.js'

const nodeGyp = join(root, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')
const addon = join(root, 'build', 'Release', 'mora.node')
const prefix = dirname(dirname(realpathSync(process.execPath)))
const works = (command: string) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

const lacksTools = lack('python3 and make', works('python3') && works('make'))
const lacksHeaders = lack('headers of Node.js (libnode-dev)', existsSync(join(prefix, 'include/node/common.gypi')))
const lacksNodeGyp = lack('node-gyp (npm install)', existsSync(nodeGyp))
// A build of this checkout is brought up to date in seconds; a whole one takes minutes.
const lacksBuilt = lack('the addon built here (npm run build)', existsSync(addon) && isConfiguredHere())

function isConfiguredHere(): boolean {
  const cache = join(root, 'build', 'cmake', 'Release', 'CMakeCache.txt')
  return (
    existsSync(cache) &&
    readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root.replace(/\/$/, '')}\n`)
  )
}

/** Files of node-gyp in build/ beside CMake's; without them, it runs the build again. */
const OWN = ['Makefile', 'binding.Makefile', 'mora.target.mk', 'config.gypi', 'Release/.deps', 'Release/obj.target']
const removeOwn = () => {
  for (const name of OWN) rmSync(join(root, 'build', name), { recursive: true, force: true })
}
beforeAll(removeOwn)
afterAll(removeOwn)

needing(lacksNodeGyp, lacksTools, lacksHeaders, lacksBuilt).it(
  'node-gyp builds the addon through binding.gyp',
  () => {
    const { MORA_BINARY, MORA_BUILD, MORA_BUILD_CUDA, ...env } = process.env
    const before = statSync(addon).mtimeMs
    const { status, stderr } = spawnSync(
      process.execPath,
      [nodeGyp, 'configure', 'build', '--release', `--nodedir=${prefix}`],
      { cwd: root, encoding: 'utf8', env },
    )
    expect(stderr).toContain('gyp info ok')
    expect(status).toBe(0)
    expect(statSync(addon).mtimeMs).toBeGreaterThan(before)
  },
  120_000,
)
