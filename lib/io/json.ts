import { InputError, quoted } from '../common/errors.js'
import { findJsonProblem, lineAndColumn, nestsTooDeep } from './json-scan.js'
import { decodeUtf8, malformed, readWhole } from './open.js'

export type JsonObject = Readonly<Record<string, unknown>>

export interface JsonOptions {
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

/** Patterns of the keys declared `float` by the configurations of transformers (with bitsandbytes' settings) and PEFT. */
const floats = [
  'rms_norm_eps layer_norm_epsilon initializer_range \\w+_dropout attn_pdrop embd_pdrop resid_pdrop',
  'attention_multiplier embedding_multiplier residual_multiplier logits_scaling',
  'attn_logit_softcapping final_logit_softcapping',
  'rope_theta rope_local_base_freq partial_rotary_factor factor low_freq_factor high_freq_factor attention_factor',
  'beta_fast beta_slow mscale mscale_all_dim short_factor long_factor llm_int8_threshold',
  'd_initial eps',
]
const key = floats.join(' ').replaceAll(' ', '|')
// A JSON string has no raw newline, so a line that begins with a key is an entry.
const entries = new RegExp(`^ *"(?:${key})": (?:-?\\d+|\\[[^\\]]*\\])(?=,?$)`, 'gm')
const wholeNumber = /(?<=^ *|": )-?\d+(?=,?$)/gm

/** Formats an object as JSON for other programs, some of which accept 6.0 as a float but not 6. */
export function foreignJson(value: object): string {
  const text = JSON.stringify(value, null, 2)
  return `${text.replace(entries, (entry) => entry.replace(wholeNumber, '$&.0'))}\n`
}

/** True for `{…}`, false for arrays and null. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
