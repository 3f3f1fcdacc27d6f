/** Hashes of the program's functions in the record of a run, so that a resumed run with other functions is refused. */
import { createHash } from 'node:crypto'
import type { Objective } from '../../objectives/objective.js'
import type { RowChoices } from '../../rows/row-choices.js'

/** Functions that a run is given, by the names under which they may change. */
interface RunFunctions extends Pick<RowChoices, 'map' | 'filter'> {
  /** One of the program's own. */
  readonly objective?: Objective | undefined
  readonly rewards?: unknown
  readonly tools?: unknown
  readonly environment?: unknown
}

/** Returns the sha256 of each one's source text. Values that the text refers to are unknown. */
export function functionHashes({ objective, ...others }: RunFunctions): Record<string, string> {
  const texts = Object.entries(others).flatMap(([name, value]) =>
    hasFunctions(value) ? [[name, textOf(value)] as const] : [],
  )
  const own = objective ? [['objective', textOfObjective(objective)] as const] : []
  return Object.fromEntries([...own, ...texts].map(([name, text]) => [name, sourceHash(text)]))
}

/** Returns the sha256 of a function's source text, or of a text. */
export function sourceHash(source: string | ((...args: never[]) => unknown)): string {
  return createHash('sha256').update(source.toString()).digest('hex')
}

const isPlain = (value: object) => [Object.prototype, Array.prototype, null].includes(Object.getPrototypeOf(value))

function hasFunctions(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return typeof value === 'function'
  return Object.keys(value).length > 0
}

/** The source of functions in lists and plain objects, and what else these hold; of other objects, the names of their classes. */
function textOf(value: unknown, within: readonly unknown[] = []): string {
  if (typeof value === 'function') return value.toString()
  if (typeof value !== 'object' || value === null) return String(value)
  if (!isPlain(value) || within.includes(value)) return value.constructor?.name ?? ''
  const inside = [...within, value]
  return `{${Object.entries(value).map(([name, one]) => `${name}: ${textOf(one, inside)}`)}}`
}

/** The source of an objective's functions, or of its classes, and the options that it was made with. */
function textOfObjective(objective: Objective): string {
  const classes: string[] = []
  for (let at = Object.getPrototypeOf(objective); at && at !== Object.prototype; at = Object.getPrototypeOf(at))
    classes.push(String(at.constructor))
  const parts = Object.entries(objective).filter(
    ([name, value]) => typeof value === 'function' || ['options', 'stepSums', 'keep'].includes(name),
  )
  return [...classes, textOf(Object.fromEntries(parts))].join('\n')
}
