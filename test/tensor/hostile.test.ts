/** JavaScript that changes its arguments while they are read gets an error, never foreign memory. */
import { describe, expect, it } from 'vitest'
import { type NativeDevice, type NativeTensor, native } from '../../lib/native/addon.js'
import { loadBinary } from '../../lib/native/binary.js'

const device: NativeDevice = native.openDevice('cpu', 0, 0)
const refused = expect.objectContaining({ code: 'invalid-argument' })

/** ES2024's; Node.js has it from 20 on. */
type Resizable = ArrayBuffer & { resize(bytes: number): void }
const resizable = (bytes: number, maxByteLength: number): Resizable =>
  Reflect.construct(ArrayBuffer, [bytes, { maxByteLength }]) as Resizable

/** An object that runs code when it is converted to a number. */
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

  it('of a view whose tensor is disposed of while they are read are refused', () => {
    const views = [
      (tensor: NativeTensor, one: number) => tensor.view([one], [1], 0),
      (tensor: NativeTensor, one: number) => tensor.view([1], [one], 0),
      (tensor: NativeTensor, one: number) => tensor.view([1], [1], one),
    ]
    for (const view of views) {
      const tensor = native.empty(device, 'float32', [2])
      const error = thrown(() =>
        view(
          tensor,
          number(1, () => tensor.dispose()),
        ),
      )
      expect(error).toEqual(expect.objectContaining({ code: 'disposed' }))
    }
  })

  it('of matrices whose values are detached while their sizes are read are refused', () => {
    for (const name of ['svd', 'orthonormalColumns'] as const) {
      const values = new Float32Array(4096)
      const detach = number(64, () => structuredClone(values.buffer, { transfer: [values.buffer] }))
      expect(
        thrown(() => native[name](values, detach, 64, false)),
        name,
      ).toEqual(refused)
    }
  })

  it.each([
    [2 ** 32, 2 ** 32],
    [2 ** 52, 2 ** 12],
    [1.5, 0],
    [-1, 0],
  ])('of matrices whose sizes have no product are refused: %d by %d', (rows, columns) => {
    expect(thrown(() => native.orthonormalColumns(new Float32Array(0), rows, columns))).toEqual(refused)
  })

  it('that are lists of holes are refused before memory is taken for them', () => {
    const holes = new Array<never>(2 ** 32 - 1)
    const tensor = native.empty(device, 'float32', [1])
    expect(thrown(() => native.empty(device, 'float32', holes))).toEqual(refused)
    expect(thrown(() => tensor.view([1], holes, 0))).toEqual(refused)
    expect(thrown(() => native.globalNorm(holes, tensor))).toEqual(refused)
  })

  it('of a step that leaves out the parameters or their moments are refused', () => {
    const one = native.empty(device, 'float32', [1])
    const step = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1, weightDecay: 0, step: 1 }
    expect(
      thrown(() =>
        native.adamw({ parameters: [], gradients: [one], firstMoments: [one], secondMoments: [one], step, scale: one }),
      ),
    ).toEqual(refused)
    expect(
      thrown(() =>
        native.adamw({ parameters: [one], gradients: [one], firstMoments: [], secondMoments: [one], step, scale: one }),
      ),
    ).toEqual(refused)
    expect(
      thrown(() =>
        native.adamw({ parameters: [one], gradients: [one], firstMoments: [one], secondMoments: [], step, scale: one }),
      ),
    ).toEqual(refused)
  })

  it('of groups without columns, or of none, are refused', () => {
    const none = (...shape: number[]) => native.empty(device, 'float32', shape)
    const tile = (width: number, side: number) => ({ kind: 'tile' as const, wrap: true, width, side })
    expect(thrown(() => native.groupSum(tile(0, 2), none(3, 0), none(3, 2), false))).toEqual(refused)
    expect(thrown(() => native.groupSpread(tile(0, 2), none(3, 2), none(3, 0), false))).toEqual(refused)
    expect(
      thrown(() =>
        native.mergeGroups({ input: tile(4, 2), output: tile(4, 0), matrix: none(0, 2), weight: none(4, 4) }),
      ),
    ).toEqual(refused)
  })

  it.each([2 ** 52, 2 ** 62, Number.NaN, 1.5])('of a plan with the impossible size %d are refused', (size) => {
    const plan = { inFeatures: 8, outFeatures: 8, side: 4, rotate: true, truncate: false, foldOutput: true }
    for (const name of ['inFeatures', 'outFeatures', 'side'])
      expect(
        thrown(() => native.foldedSide({ ...plan, [name]: size }, 'float32', device)),
        name,
      ).toEqual(refused)
  })

  it('that should be functions are refused', () => {
    expect(thrown(() => native.record(3 as never))).toEqual(refused)
    const { setErrorClass } = loadBinary() as { setErrorClass(given: unknown): void }
    expect(thrown(() => setErrorClass({}))).toEqual(refused)
  })

  it('of threads that no machine has are refused', () => {
    for (const threads of [100_000, -1, 2 ** 32 + 1, 1.5, Number.NaN]) {
      expect(thrown(() => device.setThreads(threads))).toEqual(refused)
      expect(thrown(() => native.openDevice('cpu', 0, threads))).toEqual(refused)
    }
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
