import { UsageError } from '../../common/errors.js'
import type { AdapterConfigBase, LayerFacts, TargetModules } from './adapter.js'

/** The rank of a layer: the first pattern that fits it, else the adapter's. */
export function rankOf(config: AdapterConfigBase, layer: LayerFacts): number {
  return patternValue(config.rankPattern, layer.name) ?? config.rank
}

/** As PEFT matches `rank_pattern` and `alpha_pattern`: the key is a regular expression at the end of the module path. */
export function patternValue(patterns: Readonly<Record<string, number>>, name: string): number | undefined {
  for (const [pattern, value] of Object.entries(patterns)) {
    if (new RegExp(`^(?:.*\\.)?(?:${pattern})$`).test(name)) return value
  }
  return undefined
}

/** What a configuration says of layers by patterns, `rankPattern` and whatever its method has: options of that ending. */
export function patternsIn(config: AdapterConfigBase): [string, Readonly<Record<string, number>>][] {
  return Object.entries(config).filter(([option]) => option.endsWith('Pattern'))
}

/** Throws a UsageError for a pattern of ranks or the like that fits none of an adapter's layers: it would do nothing. */
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
 * Whether an adapter goes to a layer. A name fits a path that is it or ends with `.` and it, as in PEFT; a regular
 * expression, wherever it matches in the path.
 */
export function isTarget(targets: TargetModules, name: string): boolean {
  if (targets === 'all-linear') return true
  if (targets instanceof RegExp) return name.search(targets) >= 0
  return targets.some((target) => name === target || name.endsWith(`.${target}`))
}

/** The same of a layer: `all-linear` means those of the blocks. */
export function isSelected(targets: TargetModules, { name, role }: LayerFacts): boolean {
  return targets === 'all-linear' ? role === undefined : isTarget(targets, name)
}

/** Names that fit no layer, and targets without them unless none fits. */
export function fittingTargets(targets: TargetModules, layers: readonly LayerFacts[]) {
  if (targets === 'all-linear' || targets instanceof RegExp) return { fitting: targets, unmatched: [] }
  const fits = (target: string) => layers.some(({ name }) => isTarget([target], name))
  const [fitting, unmatched] = [targets.filter(fits), targets.filter((target) => !fits(target))]
  return { fitting: fitting.length > 0 ? fitting : targets, unmatched }
}

/** The layers that an adapter goes to; throws a UsageError with the candidates when a name or pattern fits none. */
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
