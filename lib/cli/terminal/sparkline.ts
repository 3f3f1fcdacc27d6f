/** A value over time in a few blocks: ▇▅▄▃▂▁. */

const BLOCKS = '▁▂▃▄▅▆▇█'

/** Accepts any number of values, and keeps means of neighbours: at most twice as many as are drawn. */
export class Sparkline {
  readonly #cells: number
  #means: number[] = []
  /** Number of values per mean; doubled whenever there are too many means. */
  #width = 1
  #sum = 0
  #count = 0

  /** @param cells maximum number of blocks */
  constructor(cells: number) {
    this.#cells = cells
  }

  add(value: number): void {
    this.#sum += value
    this.#count++
    if (this.#count < this.#width) return
    this.#means.push(this.#sum / this.#count)
    this.#sum = 0
    this.#count = 0
    if (this.#means.length === 2 * this.#cells) {
      this.#means = pairMeans(this.#means)
      this.#width *= 2
    }
  }

  /** Draws all values so far in at most `room` blocks, from the lowest to the highest; empty for fewer than two values. */
  draw(room: number): string {
    let means = this.#count > 0 ? [...this.#means, this.#sum / this.#count] : this.#means
    const cells = Math.min(room, this.#cells)
    while (means.length > cells) means = pairMeans(means)
    const finite = means.filter(Number.isFinite)
    if (finite.length < 2) return ''
    const low = Math.min(...finite)
    const span = Math.max(...finite) - low || 1
    const height = (value: number) => Math.round(((value - low) / span) * (BLOCKS.length - 1))
    return means.map((value) => (Number.isFinite(value) ? BLOCKS[height(value)] : ' ')).join('')
  }
}

function pairMeans(values: readonly number[]): number[] {
  const pairs = Math.ceil(values.length / 2)
  return Array.from({ length: pairs }, (_, i) => {
    const [first, second = first] = [values[2 * i]!, values[2 * i + 1]]
    return (first + second) / 2
  })
}
