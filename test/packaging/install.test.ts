/** The package in a project of its own: installed by npm, found by both kinds of modules, with an addon or without. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageVersion } from '../../lib/common/package-info.js'
import { binaryCandidates } from '../../lib/native/binary.js'
import { PREBUILT_ADDON, PREBUILT_CUDA } from '../../lib/native/prebuilt.js'
import { lacksEmulated, needing } from '../needs.js'
import { lacksGloo } from '../ranks/launchers.js'
import { Project, pack, root, type Said, training } from './project.js'

const addon = binaryCandidates().find(existsSync)!
const emulatedCuda = join(dirname(addon), 'mora_cuda_emulated.so')
const scratch = mkdtempSync(join(tmpdir(), 'mora-packed-'))
const project = new Project()
let installed: Said
beforeAll(() => {
  installed = project.install([pack(scratch)], project.bare)
})
afterAll(() => {
  project.remove()
  rmSync(scratch, { recursive: true, force: true })
})

const withAddon = { MORA_BINARY: addon }
const esm = () => project.write('train.mjs', training(`import * as library from 'node-mora'`))

describe('npm install without a compiler', () => {
  it('succeeds, and says what is missing', () => {
    expect(installed.stderr).toMatch(
      /^node-mora: the native addon was not built: not found: cmake, a C\+\+20 compiler/m,
    )
    expect(installed.stderr).toContain(`"npm run build native", both in ${project.package}.`)
    expect(installed.status).toBe(0)
  })

  it('leaves a package whose first use lists the attempts and the command that builds it', () => {
    const { status, stderr } = project.run('node', [esm()])
    expect(stderr).toContain(`${project.package}/build/Release/mora.node (not there)`)
    expect(stderr).toContain(`${PREBUILT_ADDON} (not installed)`)
    expect(stderr).toContain(`Build it with: cd ${project.package} && npm run build native`)
    expect(status).not.toBe(0)
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
    return new RegExp(`${PREBUILT_ADDON} \\((.*)\\)\\. Build it with`).exec(stderr)?.[1]
  }

  it('is rejected in another version', () => {
    fake(PREBUILT_ADDON, '0.0.1', 'mora.node', '')
    expect(cause()).toBe(`version 0.0.1, and version ${packageVersion()} is needed`)
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

  describe('as made by "npm run pack platform"', () => {
    const packages = join(scratch, 'packages')
    const packFolders = (...more: string[]) => {
      const script = join(root, 'scripts', 'pack-platform.mjs')
      return project.run('node', [script, '--folders', '--into', packages, ...more], withAddon)
    }
    beforeAll(() => {
      const { status, stderr } = packFolders('--as-built')
      expect(stderr.replace(/^.* is left out: .*\n/, '')).toBe('')
      expect(status).toBe(0)
      rmSync(place(PREBUILT_ADDON), { recursive: true, force: true })
      cpSync(join(packages, PREBUILT_ADDON), place(PREBUILT_ADDON), { recursive: true })
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
      const { status, stderr } = packFolders()
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

    it('satisfies the install script', () => {
      const build = join(project.package, 'scripts', 'build-native.mjs')
      const { status, stderr } = project.run('node', [build, '--if-needed'], project.bare)
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
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
