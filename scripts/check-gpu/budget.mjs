/** Time that may be spent: by the check as a whole, and by its parts. */
export class Budget {
  #end
  #whole

  /**
   * @param {number} seconds
   * @param {Budget | null} whole
   */
  constructor(seconds, whole = null) {
    this.#end = performance.now() + seconds * 1000
    this.#whole = whole
  }

  /** Infinity where nothing limits it. */
  get secondsLeft() {
    const own = Math.max(0, (this.#end - performance.now()) / 1000)
    return this.#whole ? Math.min(own, this.#whole.secondsLeft) : own
  }

  get spent() {
    return this.secondsLeft === 0
  }

  /** At most so many seconds of what is left. */
  share(seconds) {
    return new Budget(Math.min(seconds, this.secondsLeft), this)
  }

  /** Ends it and all of its shares. */
  end() {
    this.#end = 0
  }
}

/**
 * Runs `run(item, noteItem, budget)` for one item after the other until the time is spent, each with at most an equal share
 * of what is left where `fair`. `note` gets the results so far, whenever there is more: also what `noteItem` says of an
 * item at work. Resolves with `{results, leftOut}`, the items that were not begun.
 */
export async function inTurn(items, { budget, note, fair = false }, run) {
  const results = []
  for (const [i, item] of items.entries()) {
    if (budget.spent) return { results, leftOut: items.slice(i) }
    const own = fair ? budget.share(budget.secondsLeft / (items.length - i)) : budget
    results.push(await run(item, (soFar) => note([...results, soFar]), own))
    note([...results])
  }
  return { results, leftOut: [] }
}

/** What a part with such results has come to. */
export function statusOf(results, leftOut = []) {
  if (results.some(({ status }) => status === 'failed')) return 'failed'
  return leftOut.length > 0 || results.some(({ status }) => status === 'cut short') ? 'cut short' : 'passed'
}
