/** Reports what this machine can do for training, and what is missing. Works without the native addon too. */

import { createRequire } from 'node:module'
import { arch, availableParallelism, cpus, totalmem } from 'node:os'
import { check, optionsSchema, wholeFrom } from './common/arguments.js'
import { commandLine, packageVersion } from './common/package-info.js'
import { type DeviceFacts, type Native, native } from './native/addon.js'
import { binaryPath, NativeError } from './native/binary.js'
import { processorOf } from './native/processor.js'
import { findLaunchers, findRanksLibraries } from './ranks/installed.js'
import { isLinux } from './system/platform.js'
import { cpuFlags } from './system/processor.js'

/** The report of `doctor`, and the document of `mora doctor --json`. */
export interface DoctorReport {
  /** The version of node-mora. */
  version: string
  /** The processor, as the system describes it. */
  cpu: {
    /** The model's name, such as `AMD EPYC 9V74 80-Core Processor`. */
    name: string
    /** `x64` or `arm64`, as in `process.arch`. */
    architecture: string
    /** The CPU's instruction sets that matter for speed. */
    features: string[]
    /** Logical cores. */
    cores: number
    /** Memory in bytes. */
    memory: number
  }
  /** The native addon; null if none can be loaded. */
  addon: {
    /** The loaded file. */
    path: string
    /** The name of the processor that it was compiled for; null: it picks instructions at run time, and runs on every processor. */
    builtFor: string | null
  } | null
  /** Default number of threads of a device. */
  threads: number
  /** Usable devices, the CPU first; empty if the addon cannot be loaded. */
  devices: {
    /** `cpu` or `cuda`. */
    kind: string
    /** Number among the devices of its kind, from 0, as in `cuda:1`. */
    index: number
    /** The device's name, as its driver or the system reports it. */
    name: string
    /** Facts that matter for speed: instruction sets of a CPU, compute capability of a GPU. */
    detail: string
    /** Memory in bytes. */
    totalMemory: number
    /** Whether `--dtype auto` means bfloat16. */
    fastBfloat16: boolean
    /** Whether `--compute int8` is available. */
    int8Products: boolean
  }[]
  /** Libraries that the addon computes with, such as oneDNN and Highway, and `tokenizers`. */
  libraries: {
    /** The library's name. */
    name: string
    /** The loaded version. */
    version: string
  }[]
  /** Libraries that can connect processes that train together: MPI and gloo. */
  ranks: {
    /** The library's name: Open MPI, MPICH or a derivative, or gloo; an MPI of the standard ABI has that in brackets. */
    name: string
    /** `unknown` if it does not report one. */
    version: string
  }[]
  /** Commands that start such processes. */
  launchers: {
    /** The name of the command. */
    command: string
    /** The product it belongs to: Open MPI, MPICH (also its derivatives that use Hydra) or Slurm. */
    name: string
    /** Null if it does not report one, as srun without a cluster. */
    version: string | null
  }[]
  /** NCCL, which connects the GPUs of such processes; null if it cannot be used. */
  nccl: {
    /** Version, such as `2.21.5`. */
    version: string
    /** The library file. */
    path: string
  } | null
  /** Missing and slow parts, in the order in which they were found. */
  problems: {
    /** `error`: nothing can be trained before it is fixed. `note`: something is slower or absent. */
    level: 'error' | 'note'
    /** The problem, in a sentence. */
    problem: string
    /** The solution; null if there is none. */
    remedy: string | null
  }[]
}

const doctorArguments = { options: optionsSchema('the options of doctor', { threads: wholeFrom(0).optional() }) }

/**
 * Reports what this machine can do. `threads` overrides the default as `--threads` does.
 *
 * ```ts
 * import { doctor } from 'node-mora'
 *
 * const { devices, problems } = doctor()
 * console.log(devices.map(({ kind, name }) => `${kind}: ${name}`))
 * for (const { level, problem, remedy } of problems) console.log(level, problem, remedy)
 * ```
 */
export function doctor(
  options: { threads?: number; addon?: Native; findRanks?: typeof findRanksLibraries; platform?: string } = {},
): DoctorReport {
  check({ options }, doctorArguments)
  const { threads, addon = native, findRanks = findRanksLibraries, platform = process.platform } = options
  const report: DoctorReport = {
    version: packageVersion(),
    cpu: cpuFacts(),
    addon: null,
    threads: threads ?? availableParallelism(),
    devices: [],
    libraries: [],
    ranks: [],
    launchers: findLaunchers(),
    nccl: null,
    problems: [],
  }
  try {
    if (addon === native) {
      const path = binaryPath()
      report.addon = { path, builtFor: processorOf(path)?.name ?? null }
    }
    examineAddon(report, addon, threads)
    examineRanks(report, findRanks)
    examineNccl(report, addon)
  } catch (error) {
    report.problems.push({ level: 'error', ...problemOf(error) })
  }
  examineTokenizers(report)
  const { architecture, features } = report.cpu
  if (architecture === 'x64' && features.length > 0 && !features.includes('avx2')) {
    report.problems.push({ level: 'note', problem: 'This CPU has no AVX2: training will be slow.', remedy: null })
  }
  if (platform === 'darwin') {
    const problem = 'The project has not run node-mora on macOS.'
    report.problems.push({ level: 'note', problem, remedy: 'run "mora doctor --check", and report what it prints' })
  }
  return report
}

function examineAddon(report: DoctorReport, addon: Native, threads: number | undefined): void {
  report.libraries = addon.libraries()
  const facts = addon.openDevice('cpu', 0, threads ?? 0).facts()
  report.threads = threads ?? facts.threads
  report.devices.push({ kind: 'cpu', index: 0, ...deviceFacts(facts) })
  const why = addon.whyUnavailable('cuda')
  if (why !== null) {
    const { problem, remedy } = why
    report.problems.push({ level: 'note', problem: `No CUDA device can be used: ${problem}`, remedy })
    return
  }
  for (let index = 0; index < addon.deviceCount('cuda'); index++) {
    try {
      report.devices.push({ kind: 'cuda', index, ...deviceFacts(addon.openDevice('cuda', index, 0).facts()) })
    } catch (error) {
      report.problems.push({ level: 'note', ...problemOf(error) })
    }
  }
}

/** Checks the tokenizer library; rows of `input_ids` train without it. */
function examineTokenizers(report: DoctorReport): void {
  const require = createRequire(import.meta.url)
  const { version } = require('tokenizers/package.json') as { version: string }
  try {
    require('tokenizers')
    report.libraries.push({ name: 'tokenizers', version })
  } catch {
    const problem = `The package tokenizers ${version} has no binary that can be loaded on ${process.platform} ${arch()}: text cannot be read.`
    report.problems.push({ level: 'note', problem, remedy: 'install again, or train on rows of input_ids' })
  }
}

function examineRanks(report: DoctorReport, find: typeof findRanksLibraries): void {
  report.ranks = find()
  if (report.ranks.length > 0) return
  report.problems.push({
    level: 'note',
    problem: 'No library was found that connects several processes or machines; a single process needs none.',
    remedy: isLinux ? `apt-get install openmpi-bin, or mpich, or libgloo-dev and then ${commandLine('build')}` : null,
  })
}

/** Reports NCCL; it is missed only with several GPUs. */
function examineNccl(report: DoctorReport, addon: Native): void {
  try {
    report.nccl = addon.ncclVersion()
  } catch (error) {
    const gpus = report.devices.filter(({ kind }) => kind === 'cuda').length
    if (gpus > 1) report.problems.push({ level: 'note', ...problemOf(error) })
  }
}

function problemOf(error: unknown): { problem: string; remedy: string | null } {
  if (!(error instanceof NativeError)) return { problem: (error as Error).message, remedy: null }
  const { problem, remedy } = error
  return { problem, remedy }
}

function deviceFacts({ name, detail, totalMemory, fastBfloat16, int8Products }: DeviceFacts) {
  return { name, detail, totalMemory, fastBfloat16, int8Products }
}

/** Flags of /proc/cpuinfo (x86 `flags`, Arm `Features`) that the kernels or oneDNN use. */
const FEATURES = [
  'sse4_2',
  'fma',
  'f16c',
  'avx',
  'avx2',
  'avx_vnni',
  'avx512f',
  'avx512bw',
  'avx512dq',
  'avx512vl',
  'avx512_vnni',
  'avx512_bf16',
  'avx512_fp16',
  'amx_tile',
  'amx_int8',
  'amx_bf16',
  'amx_fp16',
  'asimd',
  'asimdhp',
  'asimddp',
  'i8mm',
  'bf16',
  'sve',
  'sve2',
]

function cpuFacts(): DoctorReport['cpu'] {
  const flags = new Set(cpuFlags())
  return {
    name: cpus()[0]?.model ?? 'unknown',
    architecture: arch(),
    features: FEATURES.filter((feature) => flags.has(feature)),
    cores: cpus().length,
    memory: totalmem(),
  }
}
