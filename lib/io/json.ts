import { InputError, quoted } from '../common/errors.js'
import { findJsonProblem, lineAndColumn, nestsTooDeep } from './json-scan.js'
import { decodeUtf8, malformed, readWhole } from './open.js'

export type JsonObject = Readonly<Record<string, unknown>>

interface JsonOptions {
  /** Refuses objects with duplicate keys (JSON.parse keeps the last). Costs a second pass. */
  uniqueKeys?: boolean
}

/** Most bytes of a file: the index of a large model's tensors has tens of millions. */
const MOST_BYTES = 2 ** 26

/**
 * Reads the value of a JSON file.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-json` with the file, line and column
 */
export async function readJson(path: string, options: JsonOptions = {}): Promise<unknown> {
  return parseJson(decodeUtf8(await readWhole(path, MOST_BYTES), path), path, options)
}

/** Like `readJson`, for a file whose value must be an object. */
export async function readJsonObject(path: string, options: JsonOptions = {}): Promise<Record<string, unknown>> {
  const value = await readJson(path, options)
  if (!isJsonObject(value)) throw malformed(path, `expected a JSON object but received ${quoted(value)}`)
  return value
}

/** Parses a text; returns undefined if it is not JSON. */
export function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Parses a text; `source` names it in errors. */
export function parseJson(text: string, source: string, { uniqueKeys = false }: JsonOptions = {}): unknown {
  const value = jsonIn(text)
  if (value !== undefined && !uniqueKeys && !nestsTooDeep(text)) return value
  const found = findJsonProblem(text)
  if (!found) return value
  const { line, column } = lineAndColumn(text, found.position)
  throw new InputError(
    'malformed-json',
    `${source} is not valid JSON: at line ${line}, column ${column} ${found.problem}.`,
  )
}

/** The numbers of objects and lists as their files have them, by key. */
const written = new WeakMap<object, Readonly<Record<string, string>>>()

/** Matches strings, and numbers outside of them, with the three that Python adds to JSON. */
const LITERAL = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|-?Infinity|NaN/g

/**
 * Like `readJsonObject`, for a file of other programs that `foreignJson` writes again: each number keeps its text, and
 * `Infinity`, `-Infinity` and `NaN` are read.
 */
export async function readForeignJson(path: string): Promise<Record<string, unknown>> {
  const text = decodeUtf8(await readWhole(path, MOST_BYTES), path)
  const asNumber = (literal: string) => (/^(-?I|N)/.test(literal) ? '0' : literal)
  const checked = parseJson(text.replace(LITERAL, asNumber), path)
  // With a letter before them, numbers are texts.
  const marked = text.replace(LITERAL, (literal) => (literal[0] === '"' ? `"s${literal.slice(1)}` : `"n${literal}"`))
  const value = isJsonObject(checked) ? withTexts(JSON.parse(marked)) : checked
  if (!isJsonObject(value)) throw malformed(path, `expected a JSON object but received ${quoted(value)}`)
  return value
}

function withTexts(value: unknown): unknown {
  if (typeof value === 'string') return value[0] === 's' ? value.slice(1) : Number(value.slice(1))
  if (typeof value !== 'object' || value === null) return value
  const isList = Array.isArray(value)
  const entries = Object.entries(value).map(([key, item]) => [isList ? key : key.slice(1), item] as const)
  const texts = entries.flatMap(([key, item]) =>
    typeof item === 'string' && item[0] === 'n' ? [[key, item.slice(1)] as const] : [],
  )
  const read = entries.map(([key, item]) => [key, withTexts(item)] as const)
  const container: object = isList ? read.map(([, item]) => item) : Object.fromEntries(read)
  if (texts.length > 0) written.set(container, Object.fromEntries(texts))
  return container
}

/** Returns a copy of an object with other entries, in which numbers keep their texts. */
export function withEntries(object: JsonObject, entries: JsonObject): JsonObject {
  const copy = { ...object, ...entries }
  written.set(copy, written.get(object) ?? {})
  return copy
}

/** Keys declared `float` by the configurations of transformers (with bitsandbytes' settings) and PEFT, for whole numbers. */
const floats = [
  'rms_norm_eps layer_norm_epsilon initializer_range \\w+_dropout attn_pdrop embd_pdrop resid_pdrop',
  'attention_multiplier embedding_multiplier residual_multiplier logits_scaling',
  'attn_logit_softcapping final_logit_softcapping',
  'rope_theta rope_local_base_freq partial_rotary_factor factor low_freq_factor high_freq_factor attention_factor',
  'beta_fast beta_slow mscale mscale_all_dim short_factor long_factor llm_int8_threshold',
  'd_initial eps',
]
const floatKey = new RegExp(`^(?:${floats.join(' ').replaceAll(' ', '|')})$`)

/**
 * Formats an object as JSON for other programs; some accept 6.0 as a float but not 6: numbers that `readForeignJson` has
 * read keep their text, but for whole ones of keys that are known to be floats.
 */
export function foreignJson(value: object): string {
  return `${formatted(value, '', '')}\n`
}

/** @param field the key in the innermost object */
function formatted(value: unknown, field: string, indent: string, text?: string): string {
  if (typeof value === 'number') {
    const kept = text !== undefined && Object.is(Number(text), value) ? text : JSON.stringify(value)
    return floatKey.test(field) && /^-?\d+$/.test(kept) ? `${kept}.0` : kept
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const texts = written.get(value) ?? {}
  const inner = `${indent}  `
  const [open, close] = Array.isArray(value) ? '[]' : '{}'
  const lines = Object.entries(value).flatMap(([key, item]) => {
    if (item === undefined) return []
    const text = Object.hasOwn(texts, key) ? texts[key] : undefined
    if (Array.isArray(value)) return [`${inner}${formatted(item, field, inner, text)}`]
    return [`${inner}${JSON.stringify(key)}: ${formatted(item, key, inner, text)}`]
  })
  return lines.length === 0 ? `${open}${close}` : `${open}\n${lines.join(',\n')}\n${indent}${close}`
}

/** True for `{…}`, false for arrays and null. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
