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
    let offset = 0
    for (const [i, size] of this.shape.entries()) {
      const at = index[i]!
      if (!(at >= 0 && at < size))
        throw new RangeError(`[${index.join(', ')}] is outside of [${this.shape.join(', ')}]`)
      offset = offset * size + at
    }
    return offset
  }
}

/** Every index of a shape, last dimension fastest. */
export function* indices(shape: readonly number[]): Generator<number[]> {
  const [first, ...rest] = shape
  if (first === undefined) {
    yield []
    return
  }
  for (let i = 0; i < first; i++) for (const tail of indices(rest)) yield [i, ...tail]
}

/** Σ of(i) for i in [0, count). */
export function sum(count: number, of: (i: number) => number): number {
  let total = 0
  for (let i = 0; i < count; i++) total += of(i)
  return total
}
