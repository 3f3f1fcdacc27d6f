interface Waiting {
  readonly size: number
  begin(): void
}

/** Places for tasks: those that wait take them the smallest first, and among equals in the order in which they came. */
export class SmallestFirst {
  readonly #waiting: Waiting[] = []
  #free: number

  /** @param places tasks that run at once */
  constructor(places: number) {
    this.#free = places
  }

  async run<Result>(size: number, task: () => Promise<Result>): Promise<Result> {
    if (this.#free === 0) await new Promise<void>((begin) => this.#wait({ size, begin }))
    else this.#free--
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next.begin()
      else this.#free++
    }
  }

  #wait(one: Waiting): void {
    const later = this.#waiting.findIndex(({ size }) => size > one.size)
    this.#waiting.splice(later < 0 ? this.#waiting.length : later, 0, one)
  }
}
