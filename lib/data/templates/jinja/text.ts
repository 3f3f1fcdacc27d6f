/** Values as Python writes them: `str`, `repr` and `json.dumps`. */
import {
  isFloat,
  isInteger,
  isList,
  isMapping,
  isNone,
  isText,
  isTruth,
  isTuple,
  isUndefined,
  type Value,
  WideInteger,
} from './values.js'

/** Python's `str`. */
export function str(value: Value): string {
  return isText(value) ? value.value : isUndefined(value) ? '' : repr(value)
}

/** Python's `repr`. */
export function repr(value: Value): string {
  if (isText(value)) return quotedText(value.value)
  if (isTruth(value)) return value.value ? 'True' : 'False'
  if (isNone(value)) return 'None'
  if (isUndefined(value)) return 'Undefined'
  if (isInteger(value)) return integerText(value)
  if (isFloat(value)) return floatText(value.value)
  if (isList(value)) {
    const items = value.value.map(repr)
    if (!isTuple(value)) return `[${items.join(', ')}]`
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`
  }
  if (isMapping(value))
    return `{${[...value.value].map(([key, item]) => `${quotedText(key)}: ${repr(item)}`).join(', ')}}`
  throw new Error('a function cannot be written as text')
}

export interface JsonStyle {
  asciiOnly?: boolean
  /** Spaces of a level; undefined: all on one line. */
  indent?: number
  separators?: readonly [string, string]
  sortsKeys?: boolean
}

/** Python's `json.dumps`. */
export function json(value: Value, style: JsonStyle = {}, depth = 0): string {
  const { indent, separators = [indent === undefined ? ', ' : ',', ': '] } = style
  const [between, afterKey] = separators
  const wrapped = (open: string, parts: readonly string[], close: string) => {
    if (parts.length === 0 || indent === undefined) return open + parts.join(between) + close
    const line = (level: number) => `\n${' '.repeat(indent * level)}`
    return open + line(depth + 1) + parts.join(between + line(depth + 1)) + line(depth) + close
  }
  if (isText(value)) return jsonString(value.value, style)
  if (isTruth(value)) return String(value.value)
  if (isNone(value)) return 'null'
  if (isInteger(value)) return integerText(value)
  if (isFloat(value)) return jsonFloat(value.value)
  if (isList(value)) {
    return wrapped(
      '[',
      value.value.map((item) => json(item, style, depth + 1)),
      ']',
    )
  }
  if (isMapping(value)) {
    const entries = [...value.value]
    if (style.sortsKeys) entries.sort(([a], [b]) => (a < b ? -1 : 1))
    const parts = entries.map(([key, item]) => jsonString(key, style) + afterKey + json(item, style, depth + 1))
    return wrapped('{', parts, '}')
  }
  throw new Error(`${isUndefined(value) ? 'what has no value' : 'a function'} cannot be written as JSON`)
}

function jsonString(text: string, { asciiOnly }: JsonStyle): string {
  // JSON.stringify escapes halves of characters, which json.dumps leaves as they are.
  const quoted = JSON.stringify(text).replace(/(?<!\\)((?:\\\\)*)\\u(d[89a-f][0-9a-f]{2})/g, (_, before, code) => {
    return before + String.fromCharCode(Number.parseInt(code, 16))
  })
  if (!asciiOnly) return quoted
  return quoted.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function integerText(value: Value<number>): string {
  if (value instanceof WideInteger) return String(value.exact)
  return Number.isInteger(value.value) ? String(BigInt(value.value)) : String(value.value)
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  return Number.isFinite(value) ? floatText(value) : value < 0 ? '-Infinity' : 'Infinity'
}

/** The shortest digits that mean the number, with an exponent below 1e-4 and from 1e16 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf'
  if (Object.is(value, -0)) return '-0.0'
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string]
  const power = Number(exponent)
  if (value === 0 || (power >= -4 && power < 16)) {
    const fixed = String(value)
    return fixed.includes('.') ? fixed : `${fixed}.0`
  }
  return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function quotedText(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(/[\\\p{C}\p{Z}']/gu, (character) => {
    if (character === ' ') return ' '
    if (character === "'") return quote === "'" ? "\\'" : "'"
    const code = character.codePointAt(0)!
    const hex = (digits: number) => code.toString(16).padStart(digits, '0')
    return ESCAPES[character] ?? (code < 0x100 ? `\\x${hex(2)}` : code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`)
  })
  return quote + escaped + quote
}
