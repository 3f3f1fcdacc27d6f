/**
 * The packages of a release in a project of its own: published to a registry on loopback, installed by npm, found by both kinds of
 * modules, with an addon or without. "npm run check registry" does it on a bare system.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageVersion } from '../../lib/common/package-info.js'
import { binaryCandidates } from '../../lib/native/binary.js'
import { PREBUILT_ADDON, PREBUILT_CUDA } from '../../lib/native/prebuilt.js'
import { lacksEmulated, needing } from '../needs.js'
import { lacksGloo } from '../ranks/launchers.js'
import { Project, root, type Said, training } from './project.js'

const addon = binaryCandidates().find(existsSync)!
const emulatedCuda = join(dirname(addon), 'mora_cuda_emulated.so')
const scratch = mkdtempSync(join(tmpdir(), 'mora-packed-'))
const packages = join(scratch, 'packages')
const project = new Project()
const scriptOf = (name: string) => join(root, 'scripts', name)
const packing = (...more: string[]) =>
  project.run('node', [scriptOf('pack.mjs'), '--into', packages, ...more], { MORA_BINARY: addon })

let registry: ChildProcess
let npm: NodeJS.ProcessEnv
let installed: Said
beforeAll(async () => {
  const packed = packing('--as-built')
  expect(packed.stderr.replace(/^.* is left out: .*\n/, '')).toBe('')
  const server = [scriptOf('registry/server.mjs'), '--lock', join(root, 'package-lock.json')]
  registry = spawn(process.execPath, server, { stdio: ['pipe', 'pipe', 'inherit'] })
  const [address] = await once(registry.stdout!.setEncoding('utf8'), 'data')
  const url = String(address).trim()
  npm = { npm_config_registry: url, [`npm_config_${url.slice('http:'.length)}:_authToken`]: 'any' }
  const published = publishing()
  expect(published.stdout, published.stderr).toMatch(/is published\nnode-mora \S+ is published\n$/)
  installed = project.install(['node-mora'], { ...project.bare, ...npm }, '--omit=optional')
})
afterAll(() => {
  registry.stdin!.end()
  project.remove()
  rmSync(scratch, { recursive: true, force: true })
})

function publishing(...more: string[]) {
  const env = { ...process.env, ...npm }
  const command = [scriptOf('publish.mjs'), '--from', packages, ...more]
  return spawnSync(process.execPath, command, { encoding: 'utf8', env })
}

const withAddon = { MORA_BINARY: addon }
const esm = () => project.write('train.mjs', training(`import * as library from 'node-mora'`))

describe('a release', () => {
  it('is continued: what the registry has is not published again', () => {
    expect(publishing().stdout).toMatch(/is there already\nnode-mora \S+ is there already\n$/)
  })

  it('has the version of its tag', () => {
    const { status, stderr } = publishing('--tag', 'v9.9.9')
    expect(stderr).toMatch(/^Expected @node-mora\/\S+ of the tag v9\.9\.9 but it is of version \d/)
    expect(status).toBe(1)
  })
})

describe('npm install without a compiler', () => {
  const what = 'CMake, a C\\+\\+20 compiler and make were not found'
  const remedy = '(?:.* && )?npx node-mora build'

  it("says what is missing, ends well, and knows the platform's package", () => {
    const { packages: tree } = JSON.parse(readFileSync(join(project.folder, 'package-lock.json'), 'utf8'))
    expect(tree[`node_modules/${PREBUILT_ADDON}`]).toMatchObject({ version: packageVersion(), optional: true })
    const scripted = Object.entries<{ hasInstallScript?: boolean }>(tree).filter(([, entry]) => entry.hasInstallScript)
    expect(scripted.map(([place]) => place)).toEqual(['node_modules/node-mora'])
    expect(installed.stderr).toMatch(
      new RegExp(`^node-mora: the native addon was not built: ${what}\\. To build it: ${remedy}$`, 'm'),
    )
    expect(installed.status).toBe(0)
  })

  it("leaves a package whose first use lists the attempts and the command that installs the platform's package", () => {
    const { status, stderr } = project.run('node', [esm()])
    expect(stderr).toMatch(new RegExp(`${project.package}/build/Release/mora\\.node \\(not built: ${what}\\)`))
    const prebuilt = `npm install ${PREBUILT_ADDON}@${packageVersion()}`
    expect(stderr).toMatch(
      new RegExp(
        `${PREBUILT_ADDON} \\(not installed\\)\\. Get one with: ${prebuilt} \\(or, with a compiler: ${remedy}\\)`,
      ),
    )
    expect(status).not.toBe(0)
  })

  it('leaves a command that compiles, and says what is missing for it', () => {
    const { status, stderr } = project.run('mora', ['build'], project.bare)
    expect(stderr).toMatch(
      new RegExp(`^node-mora: the native addon was not built: ${what}\\. To build it: ${remedy}\n`),
    )
    expect(stderr).toMatch(/\nmora: The addon was not built; the reason stands above\.\n$/)
    expect(status).toBe(1)
  })
})

describe('an installed package', () => {
  it('trains from ES modules and from CommonJS, with equal results', () => {
    const cjs = project.write('train.cjs', training(`const library = require('node-mora')`))
    const [fromEsm, fromCjs] = [esm(), cjs].map((script) => project.run('node', [script], withAddon))
    expect(fromEsm!.stderr + fromCjs!.stderr).not.toMatch(/error|warning/i)
    expect(fromEsm!.stdout).toMatch(/^\d+\.\d+\n\d+\.\d+\n$/)
    expect(fromCjs!.stdout).toBe(fromEsm!.stdout)
  })

  it('is one library for both', () => {
    const script = `const required = require('node-mora')
      import('node-mora').then((imported) => {
        const names = Object.keys(imported)
        console.log(names.length > 40 && names.every((name) => required[name] === imported[name]))
      })`
    expect(project.run('node', ['-e', script]).stdout).toBe('true\n')
  })

  it('has the command mora', () => {
    const { status, stdout } = project.run('mora', ['doctor', '--json'], withAddon)
    expect(JSON.parse(stdout)).toMatchObject({ version: packageVersion(), devices: [{ kind: 'cpu' }] })
    expect(status).toBe(0)
  })
})

describe('the package of the platform', () => {
  const place = (name: string) => join(project.folder, 'node_modules', name)

  /** Installs an arbitrary package in its place. */
  function fake(name: string, version: string, main: string, content: string) {
    rmSync(place(name), { recursive: true, force: true })
    mkdirSync(place(name), { recursive: true })
    writeFileSync(join(place(name), 'package.json'), JSON.stringify({ name, version, main }))
    writeFileSync(join(place(name), main), content)
  }

  /** The reason why the package was rejected. */
  function cause(): string | undefined {
    const { stderr } = project.run('node', [esm()])
    return new RegExp(`${PREBUILT_ADDON} \\((.*)\\)\\. Get one with`).exec(stderr)?.[1]
  }

  it('is rejected in another version', () => {
    fake(PREBUILT_ADDON, '0.0.1', 'mora.node', '')
    expect(cause()).toBe(`version 0.0.1, and version ${packageVersion()} is needed`)
    const { stderr } = project.run('node', [esm()])
    expect(stderr).toContain(`Get one with: npm install ${PREBUILT_ADDON}@${packageVersion()} (or,`)
  })

  it("is rejected if the loader refuses it, with the loader's error", () => {
    fake(PREBUILT_ADDON, packageVersion(), 'mora.node', 'not a library')
    expect(cause()).toMatch(/mora\.node: .+/)
  })

  it('is rejected if it ends the process that loads it', () => {
    fake(PREBUILT_ADDON, packageVersion(), 'crash.js', 'process.abort()')
    expect(cause()).toBe('a process that tried to load it ended with SIGABRT')
    fake(PREBUILT_ADDON, packageVersion(), 'exit.js', 'process.exit(7)')
    expect(cause()).toBe('a process that tried to load it ended with exit code 7')
  })

  describe('as it is published', () => {
    beforeAll(() => {
      rmSync(place(PREBUILT_ADDON), { recursive: true, force: true })
      const { status, stderr } = project.install([`${PREBUILT_ADDON}@${packageVersion()}`], {
        ...project.bare,
        ...npm,
      })
      // npm names packages with install scripts.
      expect({ status, stderr: stderr.replace(/^npm warn install-scripts.*\n/gm, '') }).toEqual({
        status: 0,
        stderr: '',
      })
    })

    it('trains where there is no compiler', () => {
      const script = `import { readFileSync } from 'node:fs'
process.on('exit', () => console.error(readFileSync('/proc/self/maps', 'utf8')))
${training(`import * as library from 'node-mora'`)}`
      const { stdout, stderr } = project.run('node', [project.write('maps.mjs', script)], project.bare)
      expect(stdout).toBe(project.run('node', [esm()], withAddon).stdout)
      expect(/\S*\/mora\.node/.exec(stderr)?.[0]).toContain(`${place(PREBUILT_ADDON)}/`)
    })

    needing(lacksGloo).it('brings what connects ranks where there is no MPI', () => {
      const { stdout } = project.run('mora', ['doctor', '--json'], project.bare)
      expect(JSON.parse(stdout).ranks).toContainEqual({ name: 'gloo', version: expect.stringMatching(/^\d+\.\d/) })
    })

    it('is described for npm', () => {
      const described = JSON.parse(readFileSync(join(packages, PREBUILT_ADDON, 'package.json'), 'utf8'))
      const { name, version, os, cpu, libc } = described
      expect({ name, version }).toEqual({ name: PREBUILT_ADDON, version: packageVersion() })
      expect({ os, cpu, libc }).toEqual({ os: [process.platform], cpu: [process.arch], libc: ['glibc'] })
      expect(existsSync(join(packages, PREBUILT_ADDON, 'LICENSE'))).toBe(true)
    })

    it('is not made from an addon that was built for this machine alone', () => {
      const { status, stderr } = packing('--folders')
      expect(stderr).toMatch(
        /mora\.node what needs nothing but glibc \S+ but it needs (\S+, )*libstdc\+\+\.so\.6; "npm run/,
      )
      expect(status).toBe(1)
    })

    it('is an optional dependency of the package that is published', () => {
      const published = JSON.parse(readFileSync(join(packages, 'node-mora', 'package.json'), 'utf8'))
      expect(published.optionalDependencies).toMatchObject({ [PREBUILT_ADDON]: packageVersion() })
    })

    it('names no repository and no page that the packing script was not given', () => {
      for (const name of [PREBUILT_ADDON, 'node-mora']) {
        const described = JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8'))
        expect(described).not.toHaveProperty('repository')
        expect(described).not.toHaveProperty('homepage')
      }
    })

    it('answers the lines of a pipe with a model of the package', () => {
      const chat = ['chat', join(project.package, 'assets', 'demo-model'), '--max-new-tokens', '4']
      const template = project.write('template.jinja', '{% for m in messages %}{{ m.content }} {% endfor %}')
      const { stdout, stderr } = project.run('sh', [
        '-c',
        `echo Ada has | mora ${chat.join(' ')} --template ${template}`,
      ])
      expect(stdout, stderr).toMatch(/^.+\n$/)
    })

    const whyNoCuda = `import { doctor } from 'node-mora'
const { devices, problems } = doctor()
console.log(JSON.stringify({ kinds: devices.map(({ kind }) => kind), problems }))`
    const cuda = () => JSON.parse(project.run('node', [project.write('cuda.mjs', whyNoCuda)], { MORA_CUDA: '' }).stdout)

    it('says which package has the CUDA backend', () => {
      expect(cuda().problems).toContainEqual({
        level: 'note',
        problem: `No CUDA device can be used: the CUDA backend is a package of its own, ${PREBUILT_CUDA} (not installed)`,
        remedy: `run "npm install ${PREBUILT_CUDA}@${packageVersion()}"`,
      })
    })

    needing(lacksEmulated).it('takes the CUDA backend from its package', () => {
      fake(PREBUILT_CUDA, packageVersion(), 'mora_cuda.so', '')
      cpSync(emulatedCuda, join(place(PREBUILT_CUDA), 'mora_cuda.so'))
      expect(cuda().kinds).toContain('cuda')
    })
  })
})
