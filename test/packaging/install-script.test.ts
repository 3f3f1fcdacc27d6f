/**
 * The install script in an installed package, with stand-ins for CMake and compilers, and node-gyp's way to it. "npm run check
 * systems" and "npm run check registry" install packages on bare systems with what is real.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeEach, expect, it } from 'vitest'
import { packageVersion } from '../../lib/common/package-info.js'
import { binaryCandidates } from '../../lib/native/binary.js'
import { managerOf } from '../../lib/native/install-script.js'
import { PREBUILT_ADDON } from '../../lib/native/prebuilt.js'
import { lack, lacksBuild, needing } from '../needs.js'
import { Project, root, type Said } from './project.js'

const addon = binaryCandidates().find(existsSync)!
const project = new Project()
const modules = join(project.folder, 'node_modules')
const build = join(project.package, 'build')
const built = join(build, 'Release', 'mora.node')
const platformPackage = join(modules, PREBUILT_ADDON)
const tools = join(project.folder, 'tools')
/** What CMake's stand-in was asked. */
const asked = join(project.folder, 'asked')

mkdirSync(project.package, { recursive: true })
for (const name of ['package.json', 'binding.gyp', 'scripts', 'CMakeLists.txt', 'dist'])
  cpSync(join(root, name), join(project.package, name), { recursive: true })
for (const name of ['native', 'cmake']) symlinkSync(join(root, name), join(project.package, name))
for (const name of ['cmake-js', 'zod', 'tokenizers', 'commander'])
  symlinkSync(join(root, 'node_modules', name), join(modules, name))
afterAll(() => project.remove())

/** A CMake that builds by copying this checkout's addon, or does what `FAILS` says. */
const CMAKE = `#!/bin/sh
echo "$*" >> ${asked}
case "$*" in
  --version) echo "cmake version 3.31.0" ;;
  --build*) [ "$FAILS" != build ] && exec ${process.execPath} -e 'require("fs").copyFileSync(process.argv[1], process.argv[2])' ${addon} ${built} ;;
  *) [ "$FAILS" != configure ] ;;
esac`

function putTool(name: string, text: string) {
  writeFileSync(join(tools, name), text)
  chmodSync(join(tools, name), 0o755)
}

beforeEach(() => {
  for (const path of [build, platformPackage, tools, asked]) rmSync(path, { recursive: true, force: true })
  mkdirSync(tools)
  putTool('cmake', CMAKE)
  for (const name of ['g++', 'make']) putTool(name, '#!/bin/sh\nexit 0')
})

const withTools = (more: NodeJS.ProcessEnv = {}) => ({
  ...project.bare,
  PATH: `${tools}:${project.bare.PATH}`,
  ...more,
})
const install = (environment: NodeJS.ProcessEnv): Said =>
  project.run('node', [join(project.package, 'scripts', 'install.mjs')], environment)
const silent = { status: 0, stdout: '', stderr: '' }

/** The error of the first use. */
function firstUse(): string {
  const script = `import(${JSON.stringify(join(project.package, 'dist', 'native', 'binary.js'))})
    .then(({ loadBinary }) => loadBinary()).catch(({ message }) => console.log(message))`
  return project.run('node', ['-e', script], project.bare).stdout
}

function putPlatformPackage(version: string) {
  mkdirSync(platformPackage, { recursive: true })
  writeFileSync(
    join(platformPackage, 'package.json'),
    JSON.stringify({ name: PREBUILT_ADDON, version, main: 'mora.node' }),
  )
  symlinkSync(addon, join(platformPackage, 'mora.node'))
}

needing(lacksBuild).describe('the install script', () => {
  it("does nothing where the platform's package can be loaded, or MORA_BINARY", () => {
    putPlatformPackage(packageVersion())
    expect(install(withTools())).toEqual(silent)
    rmSync(platformPackage, { recursive: true })
    expect(install(withTools({ MORA_BINARY: addon, MORA_BUILD: 'required' }))).toEqual(silent)
    expect([existsSync(build), existsSync(asked)]).toEqual([false, false])
  })

  it('compiles nothing if MORA_BINARY cannot be loaded', () => {
    const { status, stderr } = install(withTools({ MORA_BINARY: '/nowhere/mora.node' }))
    expect(stderr).toMatch(
      /^node-mora: MORA_BINARY names the only addon to try, \/nowhere\/mora\.node, which cannot be used: .+\.\n$/,
    )
    expect([status, existsSync(asked)]).toEqual([0, false])
    expect(install(withTools({ MORA_BINARY: '/nowhere/mora.node', MORA_BUILD: 'required' })).status).toBe(1)
  })

  it('otherwise compiles once, says why and how long it takes, and leaves an addon that loads', () => {
    putPlatformPackage('0.0.1')
    const { status, stderr } = install(withTools())
    expect(stderr).toMatch(
      /^node-mora: compiling the native addon \(@node-mora\/\S+: version 0\.0\.1, and version \S+ is needed\), which takes about \d+ to \d+ minutes on \d+ cores?\.\n/,
    )
    expect(status).toBe(0)
    expect(firstUse()).toBe('')
    const before = readFileSync(asked, 'utf8')
    expect(install(withTools())).toEqual(silent)
    expect(readFileSync(asked, 'utf8')).toBe(before)
  })

  it('compiles anew what does not load', () => {
    install(withTools())
    writeFileSync(built, 'half of an addon')
    expect(install(withTools()).status).toBe(0)
    expect(readFileSync(built).equals(readFileSync(addon))).toBe(true)
  })

  it.each(['off', 'required'])('obeys MORA_BUILD=%s', (choice) => {
    const { status, stderr } = install({ ...project.bare, MORA_BUILD: choice })
    expect(choice === 'off' ? { status, stderr } : status).toEqual(choice === 'off' ? { status: 0, stderr: '' } : 1)
    expect(existsSync(built)).toBe(false)
  })

  it('refuses another value of MORA_BUILD, as the first use does', () => {
    const { status, stderr } = install(withTools({ MORA_BUILD: 'of' }))
    expect(stderr).toMatch(/^node-mora: expected MORA_BUILD to be required, off or nothing .* but it is "of"\.\n$/)
    expect(status).toBe(1)
    expect(() => binaryCandidates({ MORA_BUILD: 'build-asan' })).toThrow(/^Expected MORA_BUILD to be .*"build-asan"\.$/)
  })
})

needing(lacksBuild).describe('an installation goes on, and the first use says the same,', () => {
  const failures: [string, () => NodeJS.ProcessEnv, RegExp][] = [
    ['without tools', () => project.bare, /CMake, a C\+\+20 compiler and make were not found/],
    [
      'without CMake',
      () => {
        rmSync(join(tools, 'cmake'))
        return withTools()
      },
      /CMake was not found/,
    ],
    [
      'without a compiler',
      () => {
        rmSync(join(tools, 'g++'))
        return withTools()
      },
      /a C\+\+20 compiler was not found/,
    ],
    [
      'if CMake fails',
      () => withTools({ FAILS: 'configure' }),
      /CMake could not configure the build, as its output says/,
    ],
    ['if the compiler fails', () => withTools({ FAILS: 'build' }), /compiling failed, as the output of CMake says/],
  ]
  it.each(failures)('%s', (_, prepare, problem) => {
    const environment = prepare()
    const { status, stderr } = install(environment)
    const [, said] = /^node-mora: the native addon was not built: (.*)\n$/m.exec(stderr)!
    expect(said).toMatch(new RegExp(`^${problem.source}\\. To build it: (.* && )?npx node-mora build$`))
    expect(status).toBe(0)
    expect(existsSync(built)).toBe(false)
    const [what, remedy] = said!.split('. To build it: ') as [string, string]
    const message = firstUse()
    expect(message).toContain(`${built} (not built: ${what})`)
    expect(message).toContain(`Get one with: ${remedy}\n`)
    expect(install({ ...environment, MORA_BUILD: 'required' }).status).toBe(1)
  })

  it('in a folder that cannot be written', () => {
    writeFileSync(build, '')
    const { status, stderr } = install(withTools())
    expect(stderr).toMatch(/^node-mora: the native addon was not built: .*\/build\/Release cannot be written \(\w+\)\./)
    expect(status).toBe(0)
  })

  it('where the script was held back: what lets it run, by name', () => {
    writeFileSync(join(modules, '.package-lock.json'), '{}')
    expect(firstUse()).toMatch(
      /Get one with: npx node-mora build, or let the install script do it: npm approve-scripts node-mora && npm rebuild node-mora\n$/,
    )
  })
})

it.each([
  ['node_modules/.modules.yaml', 'pnpm add'],
  ['node_modules/.yarn-state.yml', 'yarn add'],
  ['node_modules/.yarn-integrity', 'yarn add'],
  ['bun.lock', 'bun add'],
  ['node_modules/.package-lock.json', 'npm install'],
  ['elsewhere', undefined],
])('the manager that left %s beside a package adds one by: %s', (trace, command) => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-manager-'))
  const inside = join(folder, 'node_modules', 'deep', 'node-mora')
  mkdirSync(inside, { recursive: true })
  writeFileSync(join(folder, trace), '')
  expect(managerOf(inside)?.add).toBe(command)
  rmSync(folder, { recursive: true })
})

it('a linker that ends early, as on a full disk, leaves no library', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-link-'))
  const linker = join(folder, 'c++')
  writeFileSync(join(folder, 'one.cpp'), 'int one() { return 1; }')
  const [include, output] = [join(root, 'native', 'common.cmake'), join(folder, 'out')]
  writeFileSync(
    join(folder, 'CMakeLists.txt'),
    `cmake_minimum_required(VERSION 3.22)\nproject(one CXX)\ninclude(${include})\nadd_library(one SHARED one.cpp)`,
  )
  const half = 'for last; do :; done; echo half > "$(echo " $* " | sed "s/.* -o \\([^ ]*\\) .*/\\1/")"; exit 1'
  writeFileSync(
    linker,
    `#!/bin/sh\ncase " $* " in *" -shared "*) [ -e ${folder}/full ] && { ${half}; } ;; esac\nexec c++ "$@"`,
  )
  chmodSync(linker, 0o755)
  const cmake = (...argv: string[]) => spawnSync('cmake', argv, { cwd: folder, encoding: 'utf8' })
  const configured = cmake('-S', '.', '-B', 'out', `-DCMAKE_CXX_COMPILER=${linker}`)
  expect(configured.status, configured.stderr).toBe(0)
  const library = join(output, 'libone.so')
  writeFileSync(join(folder, 'full'), '')
  expect(cmake('--build', 'out').status).not.toBe(0)
  expect([existsSync(library), readFileSync(`${library}.unfinished`, 'utf8')]).toEqual([false, 'half\n'])
  rmSync(join(folder, 'full'))
  expect(cmake('--build', 'out').status).toBe(0)
  expect([existsSync(library), existsSync(`${library}.unfinished`)]).toEqual([true, false])
  rmSync(folder, { recursive: true })
})

const npmFolder = spawnSync('npm', ['root', '--global'], { encoding: 'utf8' }).stdout.trim()
const gyp = join(npmFolder, 'npm', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js')
const headers = dirname(dirname(process.execPath))
const lacksGyp = lack(
  'node-gyp, Python, make and headers of Node.js',
  existsSync(gyp) &&
    existsSync(join(headers, 'include', 'node', 'node_version.h')) &&
    ['python3', 'make'].every((name) => spawnSync(name, ['--version']).status === 0),
)

needing(lacksBuild, lacksGyp).it('node-gyp builds for any target, and cleans', () => {
  rmSync(join(tools, 'make'))
  const run = (...argv: string[]) =>
    spawnSync(process.execPath, [gyp, ...argv], {
      cwd: project.package,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${tools}:${process.env.PATH}`, npm_config_nodedir: headers },
    })
  const { status, stdout, stderr } = run('rebuild', '--runtime=electron', '--target=38.1.0')
  expect(status, stdout + stderr).toBe(0)
  expect(stdout + stderr).toContain('which is the same in every version: electron 38.1.0 changes nothing.')
  expect(readFileSync(built).equals(readFileSync(addon))).toBe(true)
  expect(run('clean').status).toBe(0)
  expect(existsSync(built)).toBe(false)
})
