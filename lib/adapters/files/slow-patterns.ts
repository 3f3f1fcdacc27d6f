import { InputError } from '../../common/errors.js'
import { withinTime } from '../../common/time-limit.js'
import type { AdapterConfigBase } from '../contract/adapter.js'
import { isTarget, patternsIn, patternValue } from '../contract/patterns.js'

const MOST_MILLISECONDS = 2000

/**
 * Throws if an adapter's regular expressions take long to match the names of layers, before anything waits for them: a few
 * characters such as `(.+)+$` can take years.
 * @param source names the file in errors
 * @throws InputError `slow-pattern`
 */
export function requireQuickPatterns(config: AdapterConfigBase, names: Iterable<string>, source: string): void {
  const { targetModules } = config
  const patterns = patternsIn(config).flatMap(([, numbers]) => Object.keys(numbers))
  if (!(targetModules instanceof RegExp) && patterns.length === 0) return
  const matchAll = () => {
    for (const name of names) {
      isTarget(targetModules, name)
      for (const pattern of patterns) patternValue({ [pattern]: 1 }, name)
    }
  }
  withinTime(MOST_MILLISECONDS, matchAll, (reason) => {
    const problem = `its regular expressions are not matched with the names of layers in time (${reason})`
    return new InputError('slow-pattern', `${source}: ${problem}; write names instead.`)
  })
}
