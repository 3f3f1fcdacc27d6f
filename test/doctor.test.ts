import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type DoctorReport, doctor } from '../lib/doctor.js'
import type { Native } from '../lib/native/addon.js'
import { binaryCandidates, loadBinary, NativeError } from '../lib/native/binary.js'
import { requireLoads } from '../lib/native/prebuilt.js'
import { requireProcessor } from '../lib/native/processor.js'
import { findRanksLibraries, fromVersionText } from '../lib/ranks/installed.js'
import { lack, needing } from './needs.js'
import { hasGloo, launchers } from './ranks/launchers.js'

const facts = { name: 'a CPU', totalMemory: 1e9, threads: 3, fastBfloat16: false, int8Products: false, detail: '' }

/** A stand-in of the addon on a machine without CUDA, or with a given answer. */
function addon(whyNoCuda: ReturnType<Native['whyUnavailable']>, nccl?: { version: string; path: string }): Native {
  return {
    ncclVersion: () => {
      if (nccl) return nccl
      throw new NativeError('no-nccl', 'NCCL was not found.', { remedy: 'install it' })
    },
    libraries: () => [{ name: 'oneDNN', version: '3.7' }],
    whyUnavailable: () => whyNoCuda,
    deviceCount: () => 2,
    openDevice: (kind: string, index: number) => ({ kind, index, facts: () => ({ ...facts, name: kind }) }),
  } as unknown as Native
}

/** Lines of the report: a name and its text. */
const factsIn = (report: string) => report.split('\n').map((line) => line.replace(/ {2,}/, ': '))

/** Whether the build was configured with MORA_CUDA=OFF. */
function builtWithoutCuda(): boolean {
  const folder = dirname(binaryCandidates()[0]!)
  const cache = join(dirname(folder), 'cmake', basename(folder), 'CMakeCache.txt')
  return existsSync(cache) && /^MORA_CUDA:\w+=OFF$/m.test(readFileSync(cache, 'utf8'))
}

describe('the doctor', () => {
  it('says why there is no CUDA device', () => {
    const report = doctor({
      addon: addon({ problem: 'there is no driver; or it is old', remedy: 'install it' }),
      findRanks: () => [],
    })
    expect(report.devices.map(({ kind }) => kind)).toEqual(['cpu'])
    expect(report.threads).toBe(3)
    expect(report.problems).toContainEqual({
      level: 'note',
      problem: 'No CUDA device can be used: there is no driver; or it is old',
      remedy: 'install it',
    })
  })

  it('says why this build has no CUDA backend, and which build has one', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mora-binary-'))
    copyFileSync(binaryCandidates()[0]!, join(folder, 'mora.node')) // and no backend beside it
    const script = 'console.log(Object.values(require(process.argv[1]).whyUnavailable("cuda")).join("; "))'
    const { stdout } = spawnSync(process.execPath, ['-e', script, join(folder, 'mora.node')], {
      env: { ...process.env, MORA_CUDA: '' },
      encoding: 'utf8',
    })
    const built = builtWithoutCuda()
      ? /^the CUDA backend was not built .*: no GPU was here when node-mora was built, or MORA_BUILD_CUDA was OFF; run "MORA_BUILD_CUDA=AUTO npm run build native"/
      : /nvcc was not found when node-mora was built; install the CUDA toolkit 12|is not there although it was built/
    expect(stdout).toMatch(built)
    expect(stdout).toContain(join(folder, 'mora_cuda.so'))
  })

  const lacksTaskset = lack('taskset', spawnSync('taskset', ['-c', '0', 'true']).status === 0)
  needing(lacksTaskset, lack('several processors', cpus().length > 1)).it(
    'uses the processors that the process is bound to',
    () => {
      const mora = (...more: string[]) =>
        spawnSync('taskset', ['-c', '0', process.execPath, 'dist/cli/main.js', 'doctor', ...more], { encoding: 'utf8' })
          .stdout
      const { cpu, threads } = JSON.parse(mora('--json'))
      expect([cpu.cores, threads]).toEqual([cpus().length, 1])
      expect(mora()).toMatch(/^threads +1 \(--threads, affinity or the quota of a control group\)$/m)
    },
  )

  it('names the library of tokenizers, and says where it cannot be loaded', () => {
    const mora = (env: object) =>
      spawnSync(process.execPath, ['dist/cli/main.js', 'doctor', '--json'], {
        encoding: 'utf8',
        env: { ...process.env, ...env },
      }).stdout
    expect(JSON.parse(mora({})).libraries).toContainEqual({ name: 'tokenizers', version: '0.23.2' })
    // The variable that makes the library load another binary.
    expect(JSON.parse(mora({ NAPI_RS_NATIVE_LIBRARY_PATH: '/absent' })).problems).toContainEqual({
      level: 'note',
      problem: expect.stringMatching(/^The package tokenizers 0\.23\.2 has no binary that can be loaded on linux /),
      remedy: 'install again, or train on rows of input_ids',
    })
  })

  it('says on macOS that nobody has run its builds, and how to find out', () => {
    const { problems } = doctor({ addon: addon(null), findRanks: () => [], platform: 'darwin' })
    expect(problems).toContainEqual({
      level: 'note',
      problem: 'The project has not run node-mora on macOS.',
      remedy: 'run "mora doctor --check", and report what it prints',
    })
  })

  it('lists the CUDA devices', () => {
    const devices = doctor({ addon: addon(null), findRanks: () => [] }).devices.map(
      ({ kind, index }) => `${kind}:${index}`,
    )
    expect(devices).toEqual(['cpu:0', 'cuda:0', 'cuda:1'])
  })

  it('names the GPUs that can be used beside one that cannot', () => {
    const stub = addon(null)
    const opens = stub.openDevice
    const openDevice: Native['openDevice'] = (kind, index, threads) => {
      if (kind === 'cuda' && index === 0) throw new NativeError('no-device', 'cuda:0 is in use.', { remedy: 'wait' })
      return opens(kind, index, threads)
    }
    const { devices, problems } = doctor({ addon: { ...stub, openDevice }, findRanks: () => [] })
    expect(devices.map(({ kind, index }) => `${kind}:${index}`)).toEqual(['cpu:0', 'cuda:1'])
    expect(problems).toContainEqual({ level: 'note', problem: 'cuda:0 is in use.', remedy: 'wait' })
  })

  it('works without the addon, and says how to build it', () => {
    const broken = new Proxy({} as Native, {
      get() {
        loadBinary(['/absent/mora.node'])
      },
    })
    const report = doctor({ addon: broken })
    expect(report.cpu.cores).toBeGreaterThan(0)
    expect(report.devices).toEqual([])
    expect(report.problems[0]).toMatchObject({
      level: 'error',
      problem: 'The native addon could not be loaded; tried /absent/mora.node (not there).',
      remedy: expect.stringMatching(/^node .*main\.js build$/),
    })
  })
})

describe('an addon that was compiled for one processor', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-binary-'))
  const path = join(folder, 'mora.node')
  const builtFor = (...flags: string[]) =>
    writeFileSync(join(folder, 'processor.json'), JSON.stringify({ name: 'a CPU of next year', flags }))

  it('is not loaded where an instruction is missing', () => {
    builtFor('hypervisor', 'avx2', 'avx4096f', 'amx_tile')
    expect(() => requireProcessor(path, () => ['avx2'])).toThrow(
      'it was built for another processor, a CPU of next year, and this one lacks avx4096f, amx_tile',
    )
    builtFor('evtstrm', 'asimd', 'atomics')
    expect(() => requireProcessor(path, () => ['asimd'])).toThrow(/this one lacks atomics$/)
    builtFor('avx4096f')
    writeFileSync(path, 'no library')
    expect(() => loadBinary([path])).toThrow(/another processor.* Get one with: node .*main\.js build$/)
  })

  it('is loaded where all of them are', () => {
    builtFor('hypervisor', 'avx2')
    requireProcessor(path, () => ['avx2', 'avx512f'])
    rmSync(join(folder, 'processor.json'))
    requireProcessor(path, () => [])
  })
})

describe('what connects ranks', () => {
  it('is each library of this machine, with its version, in one line of the report', () => {
    const found = findRanksLibraries()
    const names = found.map(({ name }) => name.replace(/ \(standard ABI\)$/, ''))
    expect(names).toEqual([...new Set(names)])
    for (const { name, isHere } of launchers) if (isHere) expect(names).toContain(name)
    expect(names.includes('gloo')).toBe(hasGloo)
    for (const { version } of found) expect(version).toMatch(/^\d+\.\d/)
    expect(doctor().ranks).toEqual(found)
    const { stdout, status } = spawnSync(process.execPath, ['dist/cli/main.js', 'doctor'], { encoding: 'utf8' })
    expect(status).toBe(0)
    const isMpi = ({ name }: { name: string }) => name !== 'gloo'
    const libraries = found.map(({ name, version }) => `${name} ${version}`)
    const absent = [...(found.some(isMpi) ? [] : ['no MPI']), ...(hasGloo ? [] : ['no gloo'])]
    expect(factsIn(stdout)).toContain(`ranks by: ${[...libraries, ...absent].join(', ')}`)
  })

  it('is started by the launchers that are in PATH', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mora-launchers-'))
    const [elsewhere, path] = [join(folder, 'elsewhere'), join(folder, 'path')]
    const command = (name: string, says: string) =>
      writeFileSync(join(path, name), `#!/bin/sh\n${says}\n`, { mode: 0o755 })
    const found = (of: string) => {
      const argv = ['dist/cli/main.js', 'doctor']
      const { stdout } = spawnSync(process.execPath, argv, { encoding: 'utf8', env: { ...process.env, PATH: of } })
      return factsIn(stdout).find((line) => line.startsWith('started by'))
    }
    try {
      for (const one of [elsewhere, path]) mkdirSync(one)
      expect(found(elsewhere)).toBe('started by: no mpirun, no srun')
      command('srun', 'echo no cluster >&2; exit 1')
      expect(found(path)).toBe('started by: srun (Slurm), no mpirun')
      command('mpirun', 'echo "mpirun (Open MPI) 5.0.7"')
      command('mpiexec', 'echo "HYDRA build details:"; echo "    Version:      4.2.1"; echo "    CC: gcc"')
      command('srun', 'echo slurm 24.11.5')
      expect(found(path)).toBe('started by: mpirun (Open MPI 5.0.7), mpiexec (MPICH 4.2.1), srun (Slurm 24.11.5)')
      command('mpiexec', 'echo "mpiexec (Open MPI) 5.0.7"')
      expect(found(path)).toBe('started by: mpirun (Open MPI 5.0.7), srun (Slurm 24.11.5)')
    } finally {
      rmSync(folder, { recursive: true })
    }
    const here = doctor({ findRanks: () => [] }).launchers.map(({ name }) => name)
    for (const { name, isHere } of launchers.slice(0, 2)) expect(here.includes(name), name).toBe(isHere)
  })

  it('is absent without a library, which is a note', () => {
    const whereNoneIs = findRanksLibraries([['libabsent-mpi.so.1'], ['libc.so.6']])
    expect(whereNoneIs.map(({ name }) => name)).toEqual(hasGloo ? ['gloo'] : [])
    const { ranks, problems } = doctor({ addon: addon(null), findRanks: () => [] })
    expect(ranks).toEqual([])
    expect(problems).toContainEqual({
      level: 'note',
      problem: 'No library was found that connects several processes or machines; a single process needs none.',
      remedy: expect.stringMatching(
        /^apt-get install openmpi-bin, or mpich, or libgloo-dev and then node .*main\.js build$/,
      ),
    })
  })

  it('is NCCL for several GPUs, whose absence is a note where there are several', () => {
    const nccl = { version: '2.22.3', path: '/somewhere/libnccl.so.2' }
    expect(doctor({ addon: addon(null, nccl), findRanks: () => [] }).nccl).toEqual(nccl)
    const ofNccl = ({ nccl, problems }: DoctorReport) => ({
      nccl,
      problems: problems.filter(({ problem }) => /NCCL/.test(problem)),
    })
    const withGpus = doctor({ addon: addon(null), findRanks: () => [] })
    expect(ofNccl(withGpus)).toEqual({
      nccl: null,
      problems: [{ level: 'note', problem: 'NCCL was not found.', remedy: 'install it' }],
    })
    const without = doctor({ addon: addon({ problem: 'there is no driver', remedy: null }), findRanks: () => [] })
    expect(ofNccl(without)).toEqual({ nccl: null, problems: [] })
  })

  it('is not NCCL if a folder lacks it, or if the library is too old or lacks a function', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mora-nccl-'))
    const script =
      'try { console.log(require(process.argv[1]).ncclVersion().version) } catch (e) { console.log(e.message) }'
    const told = () =>
      spawnSync(process.execPath, ['-e', script, binaryCandidates().find(existsSync)!], {
        env: { ...process.env, MORA_NCCL: folder },
        encoding: 'utf8',
      }).stdout.trim()
    expect(told()).toMatch(/^NCCL \(libnccl\.so\.2\) was not found in .*mora-nccl-/)
    const library = (source: string) => {
      writeFileSync(join(folder, 'nccl.c'), source)
      const argv = ['-shared', '-fPIC', '-o', join(folder, 'libnccl.so.2'), join(folder, 'nccl.c')]
      expect(spawnSync('cc', argv).status).toBe(0)
    }
    library('int ncclGetVersion(int* version) { *version = 21602; return 0; }')
    expect(told()).toBe(`NCCL cannot be used: ${folder}/libnccl.so.2 is NCCL 2.16.2, and 2.18 or newer is needed.`)
    library('int ncclGetVersion(int* version) { *version = 23004; return 0; }')
    expect(told()).toMatch(/libnccl\.so\.2 lacks ncclGetUniqueId, .*, ncclGetLastError\.$/)
    writeFileSync(join(folder, 'libnccl.so.2'), 'no library')
    expect(told()).toMatch(/NCCL cannot be used: .*invalid ELF header|file too short/)
  })

  it.each([
    ['Open MPI v5.0.7, package: Debian OpenMPI, ident: 5.0.7', 'Open MPI', '5.0.7'],
    ['MPICH Version:      4.2.1', 'MPICH', '4.2.1'],
    ['Intel(R) MPI Library 2021.11 for Linux* OS', 'Intel(R) MPI Library', '2021.11'],
    ['CRAY MPICH version 8.1.28.2 (ANL base 3.4a2)', 'CRAY MPICH', '8.1.28.2'],
    ['MVAPICH2 Version      :  2.3.7', 'MVAPICH2', '2.3.7'],
    ['gloo 0.5.0', 'gloo', '0.5.0'],
    ['an MPI', 'an MPI', 'unknown'],
  ])('%s', (text, name, version) => expect(fromVersionText(text)).toEqual({ name, version }))
})

describe('the addon', () => {
  it('is looked for in the build folder, or only where MORA_BINARY or MORA_BUILD_FOLDER says', () => {
    expect(binaryCandidates({})[0]).toMatch(/build\/Release\/mora\.node$/)
    expect(binaryCandidates({ MORA_BINARY: '/x/mora.node' })).toEqual(['/x/mora.node'])
    expect(binaryCandidates({ MORA_BUILD_FOLDER: '/y' })).toContain('/y/RelWithDebInfo/mora.node')
  })

  it('that is not an addon is named with the error of the loader', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'mora-binary-')), 'mora.node')
    writeFileSync(path, 'not a library')
    expect(() => loadBinary([path])).toThrow(/tried .*mora\.node \(.+\)\. Get one with: node /)
  })

  const packageOf = (main: string): string => {
    const path = join(mkdtempSync(join(tmpdir(), 'mora-binary-')), 'main.cjs')
    writeFileSync(path, main)
    return path
  }

  it.each(['', 'module.exports = null'])('that has no functions of an addon is named: %j', (main) => {
    expect(() => loadBinary([packageOf(main)])).toThrow(/tried .*main\.cjs \(it is not node-mora's addon\)\./)
  })

  it.each([
    ['process.exit(0)', 'a process that tried to load it ended with exit code 0'],
    ['console.log("node-mora loaded it"); process.exit(1)', 'a process that tried to load it ended with exit code 1'],
    ['process.kill(process.pid, "SIGSEGV")', 'a process that tried to load it ended with SIGSEGV'],
    ['process.on("SIGTERM", () => {}); for (;;);', 'a process that tried to load it did not end in time'],
    ['throw new Error("built for another machine")', 'built for another machine'],
  ])('of a package is loaded by another process first, which rejects it if it does this: %s', (main, message) => {
    expect(() => requireLoads(packageOf(main), 2000)).toThrow(message)
  })

  it('of a package may leave work behind that keeps a process alive', () => {
    requireLoads(packageOf('setInterval(() => {}, 1000)'))
  })
})
