import { InputError, UsageError } from '../../common/errors.js'
import { withinTime } from '../../common/time-limit.js'
import type { AdapterConfigBase, LayerFacts, TargetModules } from './adapter.js'

/** Returns the rank of a layer: that of the first pattern that matches, else the adapter's. */
export function rankOf(config: AdapterConfigBase, layer: LayerFacts): number {
  return patternValue(config.rankPattern, layer.name) ?? config.rank
}

/**
 * Returns the number for a module path by patterns. As in PEFT, a key is a regular expression that matches the end of the path.
 */
export function patternValue(patterns: Readonly<Record<string, number>>, name: string): number | undefined {
  for (const [pattern, value] of Object.entries(patterns)) {
    if (new RegExp(`^(?:.*\\.)?(?:${pattern})$`).test(name)) return value
  }
  return undefined
}

/**
 * Returns the options of a configuration that give numbers by patterns: `rankPattern` and the method's own `…Pattern` options.
 */
export function patternsIn(config: AdapterConfigBase): [string, Readonly<Record<string, number>>][] {
  return Object.entries(config).filter(([option]) => option.endsWith('Pattern'))
}

/** Throws a UsageError for a pattern that matches none of an adapter's layers and so would have no effect. */
export function requireUsedPatterns(config: AdapterConfigBase, layers: readonly LayerFacts[]): void {
  for (const [option, patterns] of patternsIn(config)) {
    const idle = Object.keys(patterns).filter(
      (pattern) => !layers.some(({ name }) => patternValue({ [pattern]: 1 }, name) !== undefined),
    )
    if (idle.length === 0) continue
    const candidates = [...new Set(layers.map(lastSegment))]
    throw new UsageError(
      'no-target',
      `${idle.join(', ')} in ${option} match no layer of the adapter; candidates: ${candidates.join(', ')}.`,
    )
  }
}

/**
 * Whether targets select a layer's path. As in PEFT, a name matches a path that equals it or ends with `.` and it; a regular
 * expression may match anywhere in the path.
 */
export function isTarget(targets: TargetModules, name: string): boolean {
  if (targets === 'all-linear') return true
  if (targets instanceof RegExp) return name.search(targets) >= 0
  return targets.some((target) => name === target || name.endsWith(`.${target}`))
}

/** Whether targets select a layer; `all-linear` selects the layers of the blocks. */
export function isSelected(targets: TargetModules, { name, role }: LayerFacts): boolean {
  return targets === 'all-linear' ? role === undefined : isTarget(targets, name)
}

/** Returns the names that match no layer, and the targets without them unless none matches. */
export function fittingTargets(targets: TargetModules, layers: readonly LayerFacts[]) {
  if (targets === 'all-linear' || targets instanceof RegExp) return { fitting: targets, unmatched: [] }
  const fits = (target: string) => layers.some(({ name }) => isTarget([target], name))
  const [fitting, unmatched] = [targets.filter(fits), targets.filter((target) => !fits(target))]
  return { fitting: fitting.length > 0 ? fitting : targets, unmatched }
}

/** Returns the layers that targets select; throws a UsageError with the candidates if a name or pattern matches none. */
export function selectTargets<L extends LayerFacts>(targets: TargetModules, layers: readonly L[]): L[] {
  const { unmatched } = fittingTargets(targets, layers)
  const selected = layers.filter((layer) => isSelected(targets, layer))
  if (unmatched.length === 0 && selected.length > 0) return selected
  const candidates = [...new Set(layers.map(lastSegment))]
  const what = unmatched.length > 0 ? unmatched.join(', ') : String(targets)
  throw new UsageError(
    'no-target',
    `Target modules ${what} match no linear layer of the model; candidates: ${candidates.join(', ')}.`,
  )
}

const lastSegment = ({ name }: LayerFacts): string => name.split('.').at(-1)!

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
