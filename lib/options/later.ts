/** Promised options whose part is not there yet: refused by name instead of as unknown. */
import { UsageError } from '../errors.js'
import { camelCase, type OptionSource, optionPlace } from './names.js'

const LATER_OPTIONS: Readonly<Record<string, string>> = {
  compute: 'int8 products',
}

/** Throws when `key` names an option that is promised and not available. */
export function refuseLater(key: string, source: OptionSource): void {
  const name = camelCase(key.replace(/^-+/, ''))
  if (!Object.hasOwn(LATER_OPTIONS, name)) return
  throw new UsageError('not-available', `${optionPlace(name, source)} (${LATER_OPTIONS[name]}) is not available yet.`)
}
