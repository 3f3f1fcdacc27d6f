/** Entries of `adapter_config.json` that methods share, checked. */
import { InputError } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'
import { isPattern } from '../../schema/option-values.js'
import type { CommonEntries, TargetModules } from './adapter.js'

type Json = Readonly<Record<string, unknown>>

/** @throws InputError `malformed-file` that names the file (`source`) and the entry */
export function commonEntries(json: Json, source: string): CommonEntries {
  return {
    rank: rankFrom(json.r, source),
    rankPattern: patternsFrom(json, 'rank_pattern', source),
    targetModules: targetsFrom(json.target_modules, source),
    modulesToSave: namesFrom(json.modules_to_save, source),
  }
}

/** Numbers by patterns of layers; absent is none. */
export function patternsFrom(json: Json, key: string, source: string): Record<string, number> {
  const patterns = json[key] ?? {}
  const isFit = ([pattern, value]: [string, unknown]) => isPattern(pattern) && typeof value === 'number' && value > 0
  if (isJsonObject(patterns) && Object.entries(patterns).every(isFit)) return patterns as Record<string, number>
  throw malformed(source, 'positive numbers by regular expressions', key, patterns)
}

/** A probability to drop; absent is 0. */
export function dropoutFrom(json: Json, key: string, source: string): number {
  const dropout = json[key] ?? 0
  if (typeof dropout === 'number' && dropout >= 0 && dropout < 1) return dropout
  throw malformed(source, 'a number of at least 0 below 1', key, dropout)
}

function rankFrom(value: unknown, source: string): number {
  if (Number.isInteger(value) && (value as number) > 0) return value as number
  throw malformed(source, 'a positive whole number', 'r', value)
}

/** A string is a regular expression of whole paths. */
function targetsFrom(value: unknown, source: string): TargetModules {
  if (value === undefined || value === null || value === 'all-linear') return 'all-linear'
  if (typeof value === 'string' && isPattern(value)) return new RegExp(`^(?:${value})$`)
  if (isNames(value)) return value
  throw malformed(source, 'names or a regular expression', 'target_modules', value)
}

/** Targets as PEFT reads them, of an adapter with these layers. */
export function targetsInFile(targets: TargetModules, layers: readonly string[]): string | readonly string[] {
  if (targets === 'all-linear') return [...new Set(layers.map((name) => name.split('.').at(-1)!))]
  if (!(targets instanceof RegExp)) return targets
  // Flags mean other things there, or nothing.
  if (/[im]/.test(targets.flags)) return layers
  const ofWholePaths = /^\^\(\?:(.*)\)\$$/s.exec(targets.source)?.[1]
  return ofWholePaths ?? `.*(?:${targets.source}).*`
}

function namesFrom(value: unknown, source: string): string[] {
  if (value === undefined || value === null) return []
  if (isNames(value)) return value
  throw malformed(source, 'names', 'modules_to_save', value)
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === 'string')

function malformed(source: string, expected: string, key: string, found: unknown): InputError {
  const shown = found === undefined ? 'none' : JSON.stringify(found)
  return new InputError('malformed-file', `${source}: expected ${expected} for ${key} but found ${shown}.`)
}

/** A number that has to be there. */
export function numberFrom(json: Json, key: string, source: string): number {
  const value = json[key]
  if (typeof value === 'number') return value
  throw malformed(source, 'a number', key, value)
}

/** A positive number that has to be there. */
export function positiveFrom(json: Json, key: string, source: string): number {
  const value = json[key]
  if (typeof value === 'number' && value > 0) return value
  throw malformed(source, 'a positive number', key, value)
}

/** A whole number, `absent` where there is none. */
export function wholeFrom(json: Json, key: string, source: string, absent: number): number {
  const { [key]: value = absent } = json
  if (Number.isSafeInteger(value)) return value as number
  throw malformed(source, 'a whole number', key, value)
}

/** The dropout of a method that PEFT's format has none of. */
export function ownDropout({ node_mora: own }: Json, source: string): number {
  return isJsonObject(own) ? dropoutFrom(own, 'dropout', source) : 0
}

export function writeOwnDropout(method: string, dropout: number): Record<string, unknown> {
  return dropout > 0 ? { node_mora: { method, dropout } } : {}
}
