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

  /** Seconds left; Infinity without a limit. */
  get secondsLeft() {
    const own = Math.max(0, (this.#end - performance.now()) / 1000)
    return this.#whole ? Math.min(own, this.#whole.secondsLeft) : own
  }

  get spent() {
    return this.secondsLeft === 0
  }

  /** A budget of at most `seconds` of what is left. */
  share(seconds) {
    return new Budget(Math.min(seconds, this.secondsLeft), this)
  }

  /** Ends the budget and all of its shares. */
  end() {
    this.#end = 0
  }
}

/**
 * Runs `run(item, noteItem, budget)` for one item after the other until the time is spent, each with at most an equal share of
 * what is left if `fair`. Calls `note` with the results so far whenever there is more, including what `noteItem` reports of a
 * running item. Resolves with `{results, leftOut}`, the items that were not begun.
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

/** The outcome of a part with these results. */
export function statusOf(results, leftOut = []) {
  if (results.some(({ status }) => status === 'failed')) return 'failed'
  return leftOut.length > 0 || results.some(({ status }) => status === 'cut short') ? 'cut short' : 'passed'
}
