/** What this machine can do for training, and what is missing. Works without the native addon too. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { arch, availableParallelism, cpus, totalmem } from 'node:os'
import { check, optionsSchema, wholeFrom } from './common/arguments.js'
import { packageVersion } from './common/package-facts.js'
import { type DeviceFacts, type Native, native } from './native/addon.js'
import { loadBinary, NativeError } from './native/binary.js'
import { type FoundLauncher, findLaunchers, findRanksLibraries, type RanksLibrary } from './ranks/installed.js'

/** What `doctor` finds on this machine, and the document of `mora doctor --json`. */
export interface DoctorReport {
  /** The version of node-mora. */
  version: string
  /** The processor, as the system describes it. */
  cpu: {
    /** The model's name, such as `AMD EPYC 9V74 80-Core Processor`. */
    name: string
    /** `x64` or `arm64`, as in `process.arch`. */
    architecture: string
    /** Instruction sets that matter here, of those that the CPU has. */
    features: string[]
    /** Logical cores. */
    cores: number
    /** In bytes. */
    memory: number
  }
  /** That a device uses when not told otherwise. */
  threads: number
  /** Devices that can be used, the CPU first; empty where the addon cannot be loaded. */
  devices: DoctorDevice[]
  /** Libraries that the addon computes with, such as oneDNN and Highway, and `tokenizers`. */
  libraries: {
    /** The library's name. */
    name: string
    /** The version that is loaded. */
    version: string
  }[]
  /** What can connect processes that train together: MPI, and gloo. */
  ranks: RanksLibrary[]
  /** Commands that start such processes. */
  launchers: FoundLauncher[]
  /** What connects the GPUs of such processes; null where there is no NCCL that can be used. */
  nccl: {
    /** Its version, such as `2.21.5`. */
    version: string
    /** The file that was opened. */
    path: string
  } | null
  /** What is missing or slow, in the order in which it was found. */
  problems: DoctorProblem[]
}

/** A device that can be used. */
export interface DoctorDevice {
  /** `cpu` or `cuda`. */
  kind: string
  /** Its number among those of its kind, from 0, as in `cuda:1`. */
  index: number
  /** The device's name, as its driver or the system has it. */
  name: string
  /** What matters for speed: instruction sets of a CPU, compute capability of a GPU. */
  detail: string
  /** In bytes. */
  totalMemory: number
  /** True where `--dtype auto` is bfloat16. */
  fastBfloat16: boolean
  /** True where `--compute int8` is available. */
  int8Products: boolean
}

/** Something that is missing or slow, and how to mend it. */
export interface DoctorProblem {
  /** `error`: nothing can be trained before it is mended. `note`: something is slower or absent. */
  level: 'error' | 'note'
  /** What is wrong, in a sentence. */
  problem: string
  /** What to do about it; null if nothing helps. */
  remedy: string | null
}

const doctorArguments = { options: optionsSchema('the options of doctor', { threads: wholeFrom(0).optional() }) }

/**
 * Looks at the machine. `threads` overrides the default as `--threads` does.
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
  options: { threads?: number; addon?: Native; findRanks?: () => RanksLibrary[] } = {},
): DoctorReport {
  check({ options }, doctorArguments)
  const { threads, addon = native, findRanks = findRanksLibraries } = options
  const report: DoctorReport = {
    version: packageVersion(),
    cpu: cpuFacts(),
    threads: threads ?? availableParallelism(),
    devices: [],
    libraries: [],
    ranks: [],
    launchers: findLaunchers(),
    nccl: null,
    problems: [],
  }
  try {
    if (addon === native) loadBinary()
    examineAddon(report, addon, threads)
    examineRanks(report, findRanks)
    examineNccl(report, addon)
  } catch (error) {
    report.problems.push({ level: 'error', ...problemOf(error) })
  }
  examineTokenizers(report)
  if (report.cpu.architecture === 'x64' && !report.cpu.features.includes('avx2')) {
    report.problems.push({ level: 'note', problem: 'This CPU has no AVX2: training will be slow.', remedy: null })
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

/** Rows of `input_ids` train without it. */
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

function examineRanks(report: DoctorReport, find: () => RanksLibrary[]): void {
  report.ranks = find()
  if (report.ranks.length > 0) return
  report.problems.push({
    level: 'note',
    problem: 'Nothing was found that connects several processes or machines; one needs nothing.',
    remedy: 'apt-get install openmpi-bin, or mpich, or libgloo-dev and then npm run build:native',
  })
}

/** One GPU and none need no NCCL. */
function examineNccl(report: DoctorReport, addon: Native): void {
  try {
    report.nccl = addon.ncclVersion()
  } catch (error) {
    const gpus = report.devices.filter(({ kind }) => kind === 'cuda').length
    if (gpus > 1) report.problems.push({ level: 'note', ...problemOf(error) })
  }
}

function problemOf(error: unknown): Pick<DoctorProblem, 'problem' | 'remedy'> {
  if (!(error instanceof NativeError)) return { problem: (error as Error).message, remedy: null }
  const { problem, remedy } = error
  return { problem, remedy }
}

function deviceFacts({ name, detail, totalMemory, fastBfloat16, int8Products }: DeviceFacts) {
  return { name, detail, totalMemory, fastBfloat16, int8Products }
}

/** Flags of /proc/cpuinfo (x86 `flags`, Arm `Features`) that the kernels or oneDNN make use of. */
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

function cpuFlags(): string[] {
  let text: string
  try {
    text = readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return [] // not Linux: the addon's own device facts tell
  }
  return /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? []
}
