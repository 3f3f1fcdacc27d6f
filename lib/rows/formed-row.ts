/** A row whose columns have known roles. */
import { quoted } from '../common/errors.js'
import { shortened } from '../common/printable.js'
import { isJsonObject } from '../io/json.js'
import { adviceFor } from './advice.js'
import { malformedRow } from './check.js'
import type { RowColumns } from './columns.js'
import type { TurnList } from './conversation.js'
import {
  CONVERSATION_COLUMNS,
  CONVERSATION_PARTS,
  type RowForm,
  type RowPart,
  TEMPLATE_OPTIONS,
  TOKEN_MASKS,
  wholePart,
} from './forms.js'
import type { LoggedRow } from './logged/index.js'

/** Parts that evaluation tools wrap in an object: `{ "input": { "question": "…" } }`. */
const WRAPPED = ['prompt', 'completion', 'answer', 'messages'] as const
/** Maximum number of characters of key names in a message. */
const MOST_NAMED = 200
/** Maximum depth of nested objects with one key that are unwrapped. */
const MOST_WRAPPED = 4

/** Whether an object is a message, or XTuner's question and answer. */
const isMessage = (value: Readonly<Record<string, unknown>>): boolean =>
  'role' in value || 'from' in value || ('input' in value && 'output' in value)

/** Returns the path of the value under an object's only key, or under `messages`. */
function unwrapped(columns: RowColumns, name: string, depth = 0): string {
  const value = columns.value(name)
  if (!isJsonObject(value) || isMessage(value) || depth === MOST_WRAPPED) return name
  const keys = Object.keys(value).filter((key) => value[key] !== null && value[key] !== undefined)
  const key = keys.length === 1 ? keys[0]! : keys.find((key) => key === 'messages')
  return key === undefined || key.includes('.') ? name : unwrapped(columns, `${name}.${key}`, depth + 1)
}

/**
 * The columns of a row that a form fits, by their parts. Columns that are null count as absent.
 * @typeParam Own parts of a kind's own
 */
export class FormedRow<Own extends string = never> {
  readonly #parts: Partial<Record<string, readonly string[]>> = {}

  constructor(
    readonly form: RowForm,
    readonly columns: RowColumns,
    /** For a logged call, which `columns` has in parts: the names of its record's columns, and why it is not trained. */
    readonly logged?: Pick<LoggedRow, 'names' | 'leftOut'>,
  ) {
    const present = (name: string): string | undefined => {
      const found = columns.find(name)
      return found !== undefined && columns.value(found) !== undefined ? found : undefined
    }
    const context = wholePart(form.columns) ? {} : CONVERSATION_COLUMNS
    for (const [part, names] of Object.entries({ ...context, weight: ['weight'], ...form.optional })) {
      const found = names.map(present).find((name) => name !== undefined)
      if (found !== undefined) this.#parts[part] = [found]
    }
    for (const [part, names] of Object.entries(form.columns)) {
      this.#parts[part] = names.map((name) => columns.find(name) ?? name)
    }
    for (const part of WRAPPED) {
      const names = this.#parts[part]
      if (names) this.#parts[part] = names.map((name) => unwrapped(columns, name))
    }
  }

  get where(): string {
    return this.columns.where
  }

  /** The columns that training reads, in the row's order. */
  get trained(): string[] {
    const { answer, subject, ...parts } = this.#parts
    const read = [
      ...Object.values(parts).flatMap((names) => names ?? []),
      ...(wholePart(this.form.columns) ? [] : [TEMPLATE_OPTIONS]),
      ...(this.has('input_ids') ? TOKEN_MASKS : []),
    ]
    const isRead = (name: string) =>
      read.some((one) => one === name || one.startsWith(`${name}.`) || one.startsWith(`${name}[`))
    return (this.logged?.names ?? this.columns.names).filter(isRead)
  }

  has(part: RowPart<Own>): boolean {
    return this.#parts[part] !== undefined
  }

  /** Whether the row has columns beside the prompt that only a conversation can express. */
  get hasContext(): boolean {
    const isGiven = (part: RowPart) => this.has(part) && !isEmpty(this.value(part))
    return CONVERSATION_PARTS.some(isGiven) || !isEmpty(this.columns.value(TEMPLATE_OPTIONS))
  }

  /** Returns the name of a part's column, or names with commas. */
  name(part: RowPart<Own>): string {
    return (this.#parts[part] ?? [part]).join(', ')
  }

  /**
   * The factor of the row's loss; undefined if the row has none.
   * @throws InputError `malformed-row`
   */
  get weight(): number | undefined {
    if (!this.has('weight')) return undefined
    const value = this.value('weight')
    const weight = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
    if (typeof weight === 'number' && weight >= 0 && weight < Number.POSITIVE_INFINITY) return weight
    throw malformedRow(
      this.where,
      `${this.name('weight')}: expected a number of at least 0 but received ${quoted(value)}`,
    )
  }

  /** Returns the value of a part's first column. */
  value(part: RowPart<Own>): unknown {
    return this.values(part)[0]
  }

  values(part: RowPart<Own>): unknown[] {
    return (this.#parts[part] ?? []).map((name) => this.columns.value(name))
  }

  /** Whether a part holds neither a list of messages nor a single one. */
  isText(part: RowPart<Own>): boolean {
    const value = this.value(part)
    return !Array.isArray(value) && !isJsonObject(value)
  }

  /** Whether a part is a list of token ids. */
  hasIds(part: RowPart<Own>): boolean {
    const value = this.value(part)
    return Array.isArray(value) && typeof value[0] === 'number'
  }

  /**
   * Returns a part as text; several columns are joined by a space.
   * @throws InputError `malformed-row`
   */
  text(part: RowPart<Own>): string {
    return (this.#parts[part] ?? []).map((name) => this.columns.text(name)).join(' ')
  }

  /**
   * Returns a part that is a text or a list of texts, one a line.
   * @throws InputError `malformed-row`
   */
  lines(part: RowPart<Own>): string {
    const value = this.value(part)
    const isList = Array.isArray(value) && value.every((text) => typeof text === 'string')
    return isList ? value.join('\n') : this.text(part)
  }

  /** Returns a part that is a list of turns, or a single turn. */
  list(part: RowPart<Own>): TurnList {
    const name = this.name(part)
    const [value, exact] = [this.columns.value(name), this.columns.exact(name)]
    if (isJsonObject(value) && !isMessage(value)) {
      const keys = shortened(Object.keys(value).join(', '), MOST_NAMED)
      throw malformedRow(
        this.where,
        `${name}: expected a text or messages but received an object of ${keys || 'no keys'}; name the columns to read, as in ${adviceFor(this.columns, this.form)}`,
      )
    }
    if (isJsonObject(value)) return { value: [value], exact: [exact], column: name, where: this.where }
    return { value, exact, column: name, where: this.where }
  }
}

function isEmpty(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0
  return value === undefined || value === ''
}
