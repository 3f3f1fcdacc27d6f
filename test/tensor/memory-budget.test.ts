/** Free memory, and the error if it is too little. */
import { totalmem } from 'node:os'
import { describe, expect, test } from 'vitest'
import type { NativeDevice } from '../../lib/native/addon.js'
import { freeMemory, limitTensorMemory, PROCESS_BYTES, requireFreeMemory } from '../../lib/tensor/memory-budget.js'
import { testDevice } from '../operations/harness.js'

const [MiB, GiB] = [2 ** 20, 2 ** 30]

function deviceOf(kind: string, totalMemory: number, inUse = 0) {
  let limit = totalMemory
  const setMemoryLimit = (bytes: number) => {
    limit = bytes
  }
  const memory = () => ({ inUse, cached: 0, limit })
  return { kind, facts: () => ({ totalMemory }), memory, setMemoryLimit } as unknown as NativeDevice
}

describe('free memory', () => {
  test('of a GPU is all but the tensors', () => {
    expect(freeMemory(deviceOf('cuda', 80 * GiB, 30 * GiB))).toBe(50 * GiB)
  })

  test('of the CPU is at most what its process leaves free', () => {
    expect(freeMemory(deviceOf('cpu', GiB, 100 * MiB))).toBeLessThanOrEqual(GiB - 100 * MiB - PROCESS_BYTES)
    expect(freeMemory(deviceOf('cpu', 2 ** 60))).toBeLessThan(2 ** 50) // the machine's memory
    expect(freeMemory(deviceOf('cpu', MiB))).toBe(0)
  })
})

describe('a request for more than the free memory', () => {
  const refusal = (device: NativeDevice, bytes: { tensors: number; making?: number }) => () =>
    requireFreeMemory(device, bytes, 'The adapter', 'give it a lower rank')

  test('is refused with the figures, and the limit in force', () => {
    expect(refusal(deviceOf('cuda', 80 * GiB, 30 * GiB), { tensors: 50 * GiB })).not.toThrow()
    expect(refusal(deviceOf('cuda', 80 * GiB, 30 * GiB), { tensors: 50 * GiB + 1 })).toThrow(
      'The adapter needs about 50 GiB of memory, but the device cuda has 80 GiB, with 50 GiB free: give it a lower rank.',
    )
    expect(refusal(deviceOf('cpu', 512 * MiB), { tensors: 512 * MiB })).toThrow(
      /^The adapter needs about 512 MiB of memory, but this process may have 512 MiB \(the limit of its control group\), with \d+ MiB free/,
    )
    expect(refusal(deviceOf('cpu', totalmem()), { tensors: totalmem() })).toThrow(/but this machine has /)
  })

  test('counts what the process allocates meanwhile, on the CPU from the same memory', () => {
    const free = freeMemory(deviceOf('cpu', GiB))
    expect(refusal(deviceOf('cpu', GiB), { tensors: free / 2, making: free })).toThrow('this process may have')
    const isTooMuch = refusal(deviceOf('cuda', 80 * GiB), { tensors: 1, making: 2 ** 50 })
    expect(isTooMuch).toThrow(/^The adapter needs about 1 PiB of memory, but this machine has [\d.]+ [MG]iB free/)
  })
})

describe('the limit of tensors', () => {
  test('leaves room for the rest of the process, and follows it', () => {
    const device = deviceOf('cpu', 4 * GiB)
    limitTensorMemory(device)
    const { limit } = device.memory()
    expect(limit).toBeLessThanOrEqual(4 * GiB - PROCESS_BYTES)
    expect(limit).toBeGreaterThan(2 * GiB)
    limitTensorMemory(device)
    expect(device.memory().limit).toBeLessThanOrEqual(4 * GiB - PROCESS_BYTES)
  })

  test('keeps a value that was set, and that of a GPU', () => {
    for (const device of [deviceOf('cpu', 4 * GiB), deviceOf('cuda', 4 * GiB)]) {
      device.setMemoryLimit(GiB)
      limitTensorMemory(device)
      expect(device.memory().limit).toBe(GiB)
    }
  })

  test('is set once a device is open', async () => {
    const { openDevice } = await import('../../lib/tensor/device.js')
    const device = openDevice({ device: testDevice().kind })
    const { totalMemory } = device.facts()
    if (device.kind === 'cpu') expect(device.memory().limit).toBeLessThan(totalMemory)
  })
})
