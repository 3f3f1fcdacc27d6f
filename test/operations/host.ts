/** Arrays of float64 with a shape: what the references compute with. */
export class Host {
  readonly values: Float64Array

  constructor(
    readonly shape: readonly number[],
    values?: ArrayLike<number>,
  ) {
    const length = shape.reduce((product, size) => product * size, 1)
    this.values = values ? Float64Array.from(values) : new Float64Array(length)
    if (this.values.length !== length) throw new RangeError(`${this.values.length} values for [${shape.join(', ')}]`)
  }

  /** The array whose elements are `of(index…)`. */
  static of(shape: readonly number[], of: (...index: number[]) => number): Host {
    const host = new Host(shape)
    for (const index of indices(shape)) host.set(of(...index), ...index)
    return host
  }

  at(...index: number[]): number {
    return this.values[this.#offset(index)]!
  }

  set(value: number, ...index: number[]): void {
    this.values[this.#offset(index)] = value
  }

  add(value: number, ...index: number[]): void {
    this.values[this.#offset(index)]! += value
  }

  map(of: (value: number) => number): Host {
    return new Host(this.shape, this.values.map(of))
  }

  #offset(index: readonly number[]): number {
    const { shape } = this
    let offset = 0
    for (let d = 0; d < shape.length; d++) {
      const at = index[d]!
      if (!(at >= 0 && at < shape[d]!))
        throw new RangeError(`[${index.join(', ')}] is outside of [${shape.join(', ')}]`)
      offset = offset * shape[d]! + at
    }
    return offset
  }
}

/** Every index of a shape, last dimension fastest. */
export function* indices(shape: readonly number[]): Generator<number[]> {
  if (shape.includes(0)) return
  const index = shape.map(() => 0)
  for (;;) {
    yield index.slice()
    let d = shape.length - 1
    for (; d >= 0 && ++index[d]! === shape[d]; d--) index[d] = 0
    if (d < 0) return
  }
}

/** Σ of(i) for i in [0, count). */
export function sum(count: number, of: (i: number) => number): number {
  let total = 0
  for (let i = 0; i < count; i++) total += of(i)
  return total
}
