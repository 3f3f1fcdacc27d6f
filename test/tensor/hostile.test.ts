/** JavaScript that changes what it hands over while that is being read gets an error, never foreign memory. */
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { type NativeDevice, native } from '../../lib/native.js'
import { binaryCandidates } from '../../lib/native-binary.js'

const device: NativeDevice = native.openDevice('cpu', 0, 0)
const refused = expect.objectContaining({ code: 'invalid-argument' })

/** ES2024's; Node.js has it from 20 on. */
type Resizable = ArrayBuffer & { resize(bytes: number): void }
const resizable = (bytes: number, maxByteLength: number): Resizable =>
  Reflect.construct(ArrayBuffer, [bytes, { maxByteLength }]) as Resizable

/** A number that does something when it is converted to one. */
const number = (value: number, then: () => void) => {
  const converted = () => {
    then()
    return value
  }
  return { valueOf: converted } as unknown as number
}

function thrown(body: () => unknown): unknown {
  try {
    return body()
  } catch (error) {
    return error
  }
}

describe('arguments', () => {
  it.each(['shape', 'strides'] as const)('of a %s that grows while it is read have their first length', (which) => {
    const list: number[] = []
    list.push(
      number(1, () => {
        for (let i = 0; i < 10_000; i++) list.push(1)
      }),
    )
    const tensor = native.empty(device, 'float32', [1])
    const view = which === 'shape' ? tensor.view(list, [1], 0) : tensor.view([1], list, 0)
    expect(view.shape).toEqual([1])
  })

  it('of a list of tensors that grows while it is read are not read past it', () => {
    const tensor = native.empty(device, 'float32', [1])
    const list: unknown[] = [tensor]
    const get = () => {
      if (list.length < 9) list.push(tensor, tensor)
      return tensor
    }
    Object.defineProperty(list, 0, { get })
    expect(() => native.globalNorm(list as never, native.empty(device, 'float32', [1]))).not.toThrow(/std::|bad_alloc/)
  })

  it('of values whose buffer is detached or shrunk while the shape is read are refused', () => {
    const detached = new Float32Array(4096)
    const detach = number(4096, () => structuredClone(detached.buffer, { transfer: [detached.buffer] }))
    expect(thrown(() => native.fromArray(device, 'float32', [detach], detached))).toEqual(refused)
    const buffer = resizable(4 * 4096, 4 * 4096)
    const shrunk = new Float32Array(buffer, 0, 4096)
    expect(thrown(() => native.fromArray(device, 'float32', [number(4096, () => buffer.resize(0))], shrunk))).toEqual(
      refused,
    )
  })

  it('of memory to read into that grows or shrinks meanwhile are refused', async () => {
    const tensor = native.empty(device, 'float32', [16])
    native.fill(tensor, 1)
    for (const bytes of [4096, 8]) {
      const buffer = resizable(64, 4096)
      const into = new Uint8Array(buffer)
      const reading = tensor.read(into)
      buffer.resize(bytes)
      await expect(reading).rejects.toEqual(refused)
    }
  })

  it.each([
    [[4097], [2 ** 52]],
    [
      [2 ** 40, 2 ** 40],
      [1, 2 ** 30],
    ],
    [
      [2 ** 31, 2 ** 31, 2 ** 31],
      [0, 0, 0],
    ],
  ])('of views past 64 bits are refused: %j by %j', (shape, strides) => {
    const tensor = native.empty(device, 'float32', [64])
    expect(thrown(() => tensor.view(shape, strides, 0))).toEqual(refused)
  })

  it('of threads that no machine has are refused', () => {
    for (const threads of [100_000, -1]) expect(thrown(() => device.setThreads(threads))).toEqual(refused)
  })
})

describe('methods and accessors', () => {
  const tensor = native.empty(device, 'float32', [2])
  const members = [device, tensor].flatMap((object) => {
    const prototype = Object.getPrototypeOf(object) as object
    return Object.entries(Object.getOwnPropertyDescriptors(prototype)).map(([name, { get, value }]) => ({
      name: `${object === device ? 'device' : 'tensor'}.${name}`,
      body: (get ?? value) as (...given: unknown[]) => unknown,
      others: [object === device ? tensor : device, {}, new Proxy(object, {}), Object.create(object), [], 'text'],
    }))
  })

  it.each(members.filter(({ name }) => !name.endsWith('constructor')))(
    'called on something else: $name',
    ({ body, others }) => {
      for (const other of others) expect(thrown(() => Reflect.apply(body, other, []))).toBeInstanceOf(Error)
    },
  )
})

it('a worker that is terminated with reads pending leaves the process whole', async () => {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    const native = require(workerData)
    const device = native.openDevice('cpu', 0, 0)
    const tensors = Array.from({ length: 8 }, () => native.empty(device, 'float32', [1 << 18]))
    const again = () => { for (const tensor of tensors) tensor.read().catch(() => {}); setImmediate(again) }
    again()
    parentPort.postMessage('reading')`
  const rounds = process.env.MORA_TEST_LONG ? 1000 : 12
  for (let round = 0; round < rounds; round++) {
    const worker = new Worker(code, { eval: true, workerData: binaryCandidates()[0]! })
    await new Promise((resolve) => worker.once('message', resolve))
    await worker.terminate()
  }
  await device.synchronize()
})
