import { aFlag, aText, check, optionsSchema, wholeBetween } from '../common/arguments.js'
import { formatBytes } from '../common/bytes.js'
import { MoraError, UsageError } from '../common/errors.js'
import { absenceText, MAX_THREADS, type NativeDevice, native } from '../native/addon.js'
import { freeAddresses } from '../system/memory.js'
import { signOfGpu } from '../system/processor.js'
import { limitTensorMemory, memoryOf, PROCESS_BYTES } from './memory-budget.js'

/** Selects the device that computes, and how. */
export interface DeviceOptions {
  /** `auto` (default: a GPU if there is one), `cpu`, `cuda` or `cuda:n`. */
  device?: string
  /** CPU threads; 0 (default) is all cores. */
  threads?: number
  /**
   * Lets float32 products of a GPU round their inputs to TF32, which has 10 bits of fraction: several times faster. Initially
   * off. It applies to everything that the process computes on that device until it is set again; a CPU has no TF32.
   */
  allowTf32?: boolean
}

const openDeviceArguments = {
  options: optionsSchema('the options of openDevice', {
    device: aText.optional(),
    threads: wholeBetween(0, MAX_THREADS).optional(),
    allowTf32: aFlag.optional(),
  }),
}

/** Opens a device. Throws a UsageError that says why if it cannot be used. */
export function openDevice(options: DeviceOptions = {}): NativeDevice {
  check({ options }, openDeviceArguments)
  const { device = 'auto', threads = 0, allowTf32 } = options
  const match = /^(auto|cpu|cuda)(?::(\d+))?$/.exec(device)
  if (!match || (match[2] !== undefined && match[1] !== 'cuda')) {
    throw new UsageError('unknown-device', `Expected auto, cpu, cuda or cuda:N for device but received ${device}.`)
  }
  const kind = match[1] === 'auto' ? kindOfThisMachine() : match[1]!
  const why = native.whyUnavailable(kind)
  if (why !== null) throw new UsageError('device-unavailable', `Device ${kind} cannot be used: ${absenceText(why)}.`)
  const opened = openWithEnoughMemory(kind, Number(match[2] ?? 0), threads)
  limitTensorMemory(opened)
  if (threads > 0) opened.setThreads(threads)
  if (allowTf32 !== undefined) opened.setAllowTf32(allowTf32)
  return opened
}

/** The CPU backend reserves half of the address space for tensors, and oneDNN crashes if too little of the rest is left. */
const LEAST_ADDRESSES = 1.5 * 2 ** 30
let hasAddresses = false

/** Opens a device; throws if the process has too little memory for a model. */
function openWithEnoughMemory(kind: string, index: number, threads: number): NativeDevice {
  const tooLittle = (has: string) => {
    const needs = `Node.js and libraries take about ${formatBytes(PROCESS_BYTES)} before there is a model`
    return new UsageError('too-little-memory', `${needs}, but ${has}: give it more.`)
  }
  hasAddresses ||= freeAddresses() >= LEAST_ADDRESSES
  if (!hasAddresses) {
    const [needed, left] = [LEAST_ADDRESSES, freeAddresses()].map(formatBytes)
    const problem = `Tensors and libraries need ${needed} of addresses, but ulimit -v leaves ${left}: raise it.`
    throw new UsageError('too-little-memory', problem)
  }
  let device: NativeDevice
  try {
    device = native.openDevice(kind, index, threads)
  } catch (error) {
    if (!(error instanceof MoraError && error.code === 'out-of-memory')) throw error
    throw tooLittle('this process may have less (by a control group or ulimit -v)')
  }
  if (kind === 'cpu' && device.facts().totalMemory <= PROCESS_BYTES) throw tooLittle(memoryOf(device))
  return device
}

let isNoticed = false

function kindOfThisMachine(): 'cuda' | 'cpu' {
  const why = native.whyUnavailable('cuda')
  if (why === null) return 'cuda'
  // A user with a GPU expects it to be used.
  const file = isNoticed ? undefined : signOfGpu()
  if (file) {
    isNoticed = true
    process.emitWarning(`This machine has an NVIDIA GPU (${file}), but computes on the CPU: ${absenceText(why)}.`, {
      type: 'MoraWarning',
      code: 'gpu-unused',
    })
  }
  return 'cpu'
}
