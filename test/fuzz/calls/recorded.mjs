/**
 * Valid calls of the addon, recorded while the library trains, merges and generates: the shapes of tensors, and the values of
 * integer tensors.
 */

const MOST = 8 // of one function

const integers = { int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array }
const BLOCK = { values: 32, bytes: { q8_0: 34, q4_0: 18 } }

/** Elements from the first to the last of a view. */
const reach = (shape, strides) =>
  shape.includes(0) ? 0 : shape.reduce((last, length, i) => last + (length - 1) * strides[i], 1)

export class Recorded {
  #calls = new Map()
  #binary
  #device
  #whole

  constructor(binary, device) {
    this.#binary = binary
    this.#device = device
    this.#whole = { ...binary }
  }

  /** Records calls until `body` has ended. */
  async during(body) {
    const waiting = []
    for (const [name, call] of Object.entries(this.#whole)) {
      if (typeof call !== 'function') continue
      this.#binary[name] = (...given) => {
        this.#note(name, given, waiting)
        return call(...given)
      }
    }
    try {
      await body()
    } finally {
      Object.assign(this.#binary, this.#whole)
    }
    await Promise.all(waiting)
  }

  /** Makers of arguments of a function; what they make of tensors goes to `made`. */
  of(name) {
    return [...(this.#calls.get(name)?.values() ?? [])]
  }

  #note(name, given, waiting) {
    const calls = this.#calls.get(name) ?? new Map()
    this.#calls.set(name, calls)
    const shape = JSON.stringify(given, (_, value) => this.#formOf(value))
    if (given.some((one) => one?.constructor?.name === 'NativeFile')) return // it will be closed
    if (calls.size < MOST && !calls.has(shape)) calls.set(shape, this.#makerOf(given, waiting))
  }

  #formOf(value) {
    if (this.#isTensor(value)) return [value.dtype, value.shape, value.strides]
    return ArrayBuffer.isView(value) ? [value.constructor.name, value.length] : value
  }

  #isTensor(value) {
    return value?.constructor?.name === 'NativeTensor'
  }

  #makerOf(value, waiting) {
    if (this.#isTensor(value)) return this.#tensorMaker(value, waiting)
    if (Array.isArray(value)) {
      const makers = value.map((item) => this.#makerOf(item, waiting))
      return (made) => makers.map((maker) => maker(made))
    }
    if (ArrayBuffer.isView(value)) {
      const copy = value.slice()
      return () => copy.slice()
    }
    if (Object.getPrototypeOf(value ?? 0) === Object.prototype) {
      const makers = Object.entries(value).map(([key, field]) => [key, this.#makerOf(field, waiting)])
      return (made) => Object.fromEntries(makers.map(([key, maker]) => [key, maker(made)]))
    }
    return () => value
  }

  #tensorMaker(tensor, waiting) {
    const { dtype, shape, strides } = tensor
    const values = {}
    if (dtype.startsWith('int')) waiting.push(tensor.read().then((read) => (values.dense = read)))
    return (made) => {
      const result = this.tensor(dtype, shape, strides, values.dense)
      made.push(result)
      return result
    }
  }

  /** A tensor of such a form, of small numbers or of dense `values`. */
  tensor(dtype, shape, strides, values) {
    const { fromArray } = this.#whole
    if (values) return fromArray(this.#device, dtype, shape, values)
    const size = reach(shape, strides)
    const whole = fromArray(this.#device, dtype, [size], bitsOf(dtype, size))
    const view = whole.view(shape, strides, 0)
    whole.dispose()
    return view
  }
}

const wave = (_, i) => Math.sin(i + 1)

function bitsOf(dtype, size) {
  if (dtype === 'float32') return Float32Array.from({ length: size }, wave)
  if (dtype === 'bfloat16' || dtype === 'float16') return new Uint16Array(size).fill(0x3c01)
  if (integers[dtype]) return new integers[dtype](size)
  return new Uint8Array((size / BLOCK.values) * BLOCK.bytes[dtype])
}
