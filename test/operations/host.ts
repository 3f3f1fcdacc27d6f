/** Arrays of float64 with a shape, for the references. */
export class Host {
  readonly values: Float64Array
  /** Sizes of four dimensions, 1 after the last. */
  readonly #sizes: readonly [number, number, number, number]

  constructor(
    readonly shape: readonly number[],
    values?: ArrayLike<number>,
  ) {
    const length = shape.reduce((product, size) => product * size, 1)
    this.values = values ? new Float64Array(values) : new Float64Array(length)
    if (this.values.length !== length) throw new RangeError(`${this.values.length} values for [${shape.join(', ')}]`)
    if (shape.length > 4) throw new RangeError(`Expected at most four dimensions but received [${shape.join(', ')}].`)
    const [a = 1, b = 1, c = 1, d = 1] = shape
    this.#sizes = [a, b, c, d]
  }

  /** The array whose elements are `of(index…)`. */
  static of(shape: readonly number[], of: (...index: number[]) => number): Host {
    const host = new Host(shape)
    for (const index of indices(shape)) host.set(of(...index), ...index)
    return host
  }

  at(...index: number[]): number
  at(i = 0, j = 0, k = 0, l = 0): number {
    return this.values[this.#offset(i, j, k, l)]!
  }

  set(value: number, ...index: number[]): void
  set(value: number, i = 0, j = 0, k = 0, l = 0): void {
    this.values[this.#offset(i, j, k, l)] = value
  }

  add(value: number, ...index: number[]): void
  add(value: number, i = 0, j = 0, k = 0, l = 0): void {
    this.values[this.#offset(i, j, k, l)]! += value
  }

  map(of: (value: number) => number): Host {
    return new Host(this.shape, this.values.map(of))
  }

  /** References read millions of elements: an array for each index would cost more than the arithmetic. */
  #offset(i: number, j: number, k: number, l: number): number {
    const [a, b, c, d] = this.#sizes
    if (!(i >= 0 && i < a && j >= 0 && j < b && k >= 0 && k < c && l >= 0 && l < d))
      throw new RangeError(`[${[i, j, k, l]}] is outside of [${this.shape.join(', ')}]`)
    return ((i * b + j) * c + k) * d + l
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
