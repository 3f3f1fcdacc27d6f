/** Values as text: Python's `str`, `repr`, `json.dumps` and `%`. */
import { numberOf, Tuple, typeName, type Value } from './values.js'

/** Python's `str`; an undefined value is an empty text. */
export function str(value: Value): string {
  if (typeof value === 'string') return value
  return value === undefined ? '' : repr(value)
}

/** Python's `repr`. */
function repr(value: Value): string {
  if (typeof value === 'string') return quotedText(value)
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (value === null) return 'None'
  if (value === undefined) return 'Undefined'
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return floatText(value)
  if (Array.isArray(value)) {
    const items = value.map(repr)
    if (!(value instanceof Tuple)) return `[${items.join(', ')}]`
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`
  }
  if (value instanceof Map) return `{${[...value].map(([key, item]) => `${repr(key)}: ${repr(item)}`).join(', ')}}`
  throw new Error(`${typeName(value)} cannot be written as text`)
}

interface JsonStyle {
  asciiOnly?: boolean
  /** Spaces, or text, per level; undefined: everything on one line. */
  indent?: string | number
  separators?: readonly string[]
  sortsKeys?: boolean
}

/** Python's `json.dumps`. */
export function json(value: Value, style: JsonStyle = {}, depth = 0): string {
  const { indent, separators = [indent === undefined ? ', ' : ',', ': '] } = style
  const [between, afterKey] = separators
  const step = typeof indent === 'number' ? ' '.repeat(indent) : indent
  const wrapped = (open: string, parts: readonly string[], close: string) => {
    if (parts.length === 0 || step === undefined) return open + parts.join(between) + close
    const line = (level: number) => `\n${step.repeat(level)}`
    return open + line(depth + 1) + parts.join(between + line(depth + 1)) + line(depth) + close
  }
  if (typeof value === 'string') return jsonString(value, style)
  if (value === null) return 'null'
  if (typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return jsonFloat(value)
  if (Array.isArray(value)) {
    const items = value.map((item) => json(item, style, depth + 1))
    return wrapped('[', items, ']')
  }
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => [typeof key === 'string' ? key : json(key), item] as const)
    if (style.sortsKeys) entries.sort(([a], [b]) => (a < b ? -1 : 1))
    const parts = entries.map(([key, item]) => jsonString(key, style) + afterKey + json(item, style, depth + 1))
    return wrapped('{', parts, '}')
  }
  throw new Error(`${typeName(value)} cannot be written as JSON`)
}

function jsonString(text: string, { asciiOnly }: JsonStyle): string {
  // JSON.stringify escapes halves of characters, which json.dumps leaves as they are.
  const quoted = JSON.stringify(text).replace(/(?<!\\)((?:\\\\)*)\\u(d[89a-f][0-9a-f]{2})/g, (_, before, code) => {
    return before + String.fromCharCode(Number.parseInt(code, 16))
  })
  if (!asciiOnly) return quoted
  return quoted.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  return Number.isFinite(value) ? floatText(value) : value < 0 ? '-Infinity' : 'Infinity'
}

/** The shortest digits that mean the number, with an exponent below 1e-4 and from 1e16 on. */
function floatText(value: number): string {
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

/** Python's `%` of a string, with `%s`, `%r`, `%d`, `%f` and `%.2f`. */
export function formatted(format: string, given: Value): string {
  const values = given instanceof Tuple ? given : [given]
  let next = 0
  const text = format.replace(/%(?:\.(\d+))?(.)/gs, (place, digits: string | undefined, kind: string) => {
    if (kind === '%') return '%'
    if (next === values.length) throw new Error('a format has more places than values')
    const value = values[next++]
    if (kind === 's') return str(value)
    if (kind === 'r') return repr(value)
    const number = numberOf(value)
    if (number === undefined) throw new Error(`${place} of a format received ${typeName(value)}`)
    if (kind === 'f') return Number(number).toFixed(Number(digits ?? 6))
    if (kind === 'd' || kind === 'i') return String(typeof number === 'bigint' ? number : Math.trunc(number))
    throw new Error(`${place} of a format is not known`)
  })
  if (next < values.length && !(given instanceof Map)) throw new Error('a format has fewer places than values')
  return text
}
