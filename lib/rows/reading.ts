/** Reads the rows of a source: as a text over their columns, by named columns, or by the form of their columns. */
import { z } from 'zod'
import { aText, expecting, listOfTexts } from '../common/arguments.js'
import { quoted, UsageError } from '../common/errors.js'
import { optionName, TheOption, theOption } from '../common/option-names.js'
import { shortened } from '../common/printable.js'
import { foreignRow, suggestion, wayToRead } from './advice.js'
import { malformedRow } from './check.js'
import { type ChoiceRow, choicesOf, hellaswagRow } from './choices.js'
import { RowColumns } from './columns.js'
import { FormedRow } from './formed-row.js'
import {
  CONVERSATION_PARTS,
  type RowForm,
  type RowPart,
  type RowPurpose,
  UNREAD_COLUMNS,
  type UnreadColumns,
  wholePart,
} from './forms.js'
import {
  COLUMN_NAMES,
  COMPARED_KINDS,
  KINDS,
  kindNamed,
  ROW_FORMS,
  type RowKindName,
  TRAINED_KINDS,
} from './kinds/index.js'
import type { RowKind } from './kinds/kind.js'
import { LabelNames } from './labels.js'
import { WHY_LEFT_OUT } from './logged/call.js'
import { loggedRow } from './logged/index.js'
import { PURPOSES } from './purposes.js'
import type { DataRecord } from './record.js'
import { type PromptRow, promptRow, type QuestionRow, questionRow, type Row, trainingRow } from './rows.js'
import { TextTemplate } from './text-template.js'

export interface ReadingOptions {
  /** A text with the columns of a row, such as `Question: {query}\nAnswer: {response}`; all of it is trained. */
  text?: string
  /** Names of columns by role, such as `{ prompt: 'query', completion: 'response' }`; `a.b` is the key b of the column a. */
  columns?: Readonly<Record<string, string>>
  /** Names of columns to ignore. */
  ignoreColumns?: readonly string[]
}

/** Schemas of the options. */
export const readingKinds = {
  text: aText.optional(),
  columns: expecting('columns by role, such as { prompt: "query" }', z.record(z.string(), aText)).optional(),
  ignoreColumns: listOfTexts.optional(),
}

/** Records the forms and columns that were read of a source's rows. */
export class SourceAccount {
  readonly #forms = new Set<string>()
  readonly #read = new Set<string>()
  readonly #all = new Set<string>()

  add(form: string, read: readonly string[], all: readonly string[]): void {
    this.#forms.add(form)
    for (const name of read) this.#read.add(name)
    for (const name of all) this.#all.add(name)
  }

  /** Names of the rows' forms, separated by commas. */
  get form(): string {
    return [...this.#forms].join(', ')
  }

  /** Columns that were read in at least one row. */
  get columns(): string[] {
    return [...this.#read]
  }

  /** Columns that were read in no row. */
  get ignored(): string[] {
    return [...this.#all].filter((name) => !this.#read.has(name))
  }
}

export class RowReading {
  readonly #text: TextTemplate | null
  /** The form that `columns` names. */
  readonly #named: RowForm | null
  readonly #ignored: ReadonlySet<string>
  /** Columns to ignore that no row so far had. */
  #unseen: Set<string>
  readonly #known = new Map<RowPurpose, Map<string, KnownForm>>()

  readonly #kind: RowKind | undefined

  /** The options that reading a row depends on. */
  readonly options: ReadingOptions & { rows?: RowKindName; labels?: readonly string[] | undefined }

  /** The labels of labelled rows. */
  readonly labels: LabelNames | undefined

  /** @throws UsageError `bad-value` */
  constructor({
    text,
    columns,
    ignoreColumns,
    rows,
    labels,
  }: ReadingOptions & { rows?: RowKindName; labels?: readonly string[] | undefined } = {}) {
    this.options = { text, columns, ignoreColumns, rows: rows === 'examples' ? undefined : rows, labels }
    this.#kind = kindNamed(rows)
    this.labels = this.#kind?.compared?.hasLabelNames && new LabelNames(labels)
    this.#text = text === undefined ? null : new TextTemplate(text)
    this.#named = columns === undefined ? null : namedForm(columns)
    this.#ignored = new Set(ignoreColumns)
    this.#unseen = new Set(ignoreColumns)
  }

  /**
   * Returns the trained part of a row. @param account records the columns
   * @throws InputError `malformed-row`
   */
  training(record: DataRecord, account?: SourceAccount): Row {
    const columns = this.#columns(record)
    if (this.#text) {
      const text = this.#text.of(columns)
      const read = this.#text.columns.map((name) => columns.find(name)!)
      account?.add('text of columns', read, columns.allNames)
      return { kind: 'text', text }
    }
    const row = this.#formed(columns, PURPOSES.training)
    account?.add(row.form.name, row.trained, columns.allNames)
    const kind = TRAINED_KINDS.find((kind) => kind.fits(row.form.columns, row.form))
    return { ...(kind ? kind.read(row) : trainingRow(row)), ...weightOf(row) }
  }

  /**
   * Returns a row of the kind of this reading.
   * @throws InputError `malformed-row`
   */
  wanted(record: DataRecord, account?: SourceAccount): Row {
    const kind = this.#kind
    if (!kind) return this.training(record, account)
    const row = this.formed(record, kind)
    account?.add(row.form.name, row.trained, row.columns.allNames)
    return { ...kind.read(row, this.labels), ...weightOf(row) }
  }

  /**
   * Returns a row by the parts of its columns.
   * @throws InputError `malformed-row`
   */
  formed(record: DataRecord, purpose: RowPurpose): FormedRow<string> {
    return this.#formed(this.#columns(record), purpose)
  }

  /**
   * Returns the prompt of a row, which may have no answer; a list of numbers is the ids of a prompt.
   * @throws InputError `malformed-row`
   */
  prompt(record: DataRecord): PromptRow {
    const { value } = record
    const areIds = Array.isArray(value) && value.length > 0 && value.every((id) => typeof id === 'number')
    const asked = areIds ? { value: { input_ids: value }, where: record.where } : record
    return promptRow(this.formed(asked, PURPOSES.prompt))
  }

  /**
   * Returns the prompt of a row whose answers are trained, with the row's weight.
   * @throws InputError `malformed-row`
   */
  weighedPrompt(record: DataRecord): PromptRow & { weight?: number } {
    const row = this.formed(record, PURPOSES.prompt)
    const asked = promptRow(row)
    if (!asked.ids) return { ...asked, ...weightOf(row) }
    throw malformedRow(row.where, 'ids are no prompt whose answers can be trained: give a text or messages')
  }

  /**
   * Returns a row as a question to be answered in words.
   * @throws InputError `malformed-row`
   */
  question(record: DataRecord): QuestionRow {
    const row = this.formed(record, PURPOSES.question)
    const why = row.logged?.leftOut
    if (why) throw malformedRow(row.where, `there is no answer to compare with in calls ${WHY_LEFT_OUT[why]}`)
    return questionRow(row)
  }

  /**
   * Returns a row as a multiple-choice question.
   * @throws InputError `malformed-row`
   */
  choices(record: DataRecord): ChoiceRow {
    const row = this.formed(record, PURPOSES.choices)
    const { fixedChoices, continues } = row.form
    const at = { choices: row.name('choices'), answer: row.name('answer'), where: row.where }
    const answer = row.has('answer') ? (row.value('answer') ?? null) : undefined
    const read = {
      question: row.text('prompt'),
      ...choicesOf(fixedChoices ? [fixedChoices] : row.values('choices'), answer, at),
      ...(row.has('subject') && { subject: row.text('subject') }),
      ...(row.has('input') && { context: row.lines('input') }),
      ...(continues && { continues }),
    }
    return row.form.name === 'hellaswag' ? hellaswagRow(read, row.columns) : read
  }

  /** Returns a reading of rows of another kind that shares the options and the note about columns. */
  ofKind(rows: RowKindName, labels?: readonly string[]): RowReading {
    const reading = new RowReading({ ...this.options, rows, labels })
    reading.#unseen = this.#unseen
    return reading
  }

  /** A note about columns to ignore that no row so far had; null if there are none. */
  get ignoredNote(): string | null {
    return ignoredNote(this.#unseen)
  }

  #columns(record: DataRecord): RowColumns {
    const columns = new RowColumns(record, this.#ignored)
    for (const name of this.#unseen) if (columns.allNames.includes(name)) this.#unseen.delete(name)
    return columns
  }

  #formed(columns: RowColumns, purpose: RowPurpose): FormedRow<string> {
    if (this.#named) {
      requireNamed(this.#named, columns, purpose)
      return new FormedRow(this.#named, columns)
    }
    const logged = loggedRow(columns)
    if (logged && fitsPurpose(logged.form, purpose)) return new FormedRow(logged.form, logged.columns, logged)
    const { form, unread } = this.#knownForm(columns, purpose)
    const foreign = form ? undefined : foreignRow(columns)
    if (foreign !== undefined) throw malformedRow(columns.where, foreign)
    refuseUnread(columns, { form, unread }, purpose)
    if (form) return new FormedRow(form, columns)
    const known = columns.names.join(', ')
    throw malformedRow(
      columns.where,
      known === ''
        ? 'the row has no columns'
        : `no form of rows has the columns ${shortened(known, MOST_NAMED)}; ${objectiveOf(columns, purpose) ?? suggestion(columns, purpose)}`,
    )
  }

  /** Finds the form of a row once for all rows with the same columns. */
  #knownForm(columns: RowColumns, purpose: RowPurpose): KnownForm {
    const { signature } = columns
    if (signature === null) return knownForm(columns, purpose)
    const ofPurpose = this.#known.get(purpose) ?? new Map<string, KnownForm>()
    this.#known.set(purpose, ofPurpose)
    const known = ofPurpose.get(signature) ?? knownForm(columns, purpose)
    if (ofPurpose.size < MOST_KNOWN) ofPurpose.set(signature, known)
    return known
  }
}

/** Returns a note about columns to ignore that no row has; null if there are none. */
export function ignoredNote(unseen: Iterable<string>): string | null {
  const names = [...unseen].map(quoted)
  if (names.length === 0) return null
  return `no row that was read has the ${names.length === 1 ? 'column' : 'columns'} ${names.join(', ')}, which ${optionName('ignoreColumns')} names.`
}

/** Returns the factor of a row's loss, if it has one. @throws InputError `malformed-row` */
const weightOf = ({ weight }: FormedRow): { weight?: number } => (weight === undefined ? {} : { weight })

/** Maximum number of remembered sets of columns; a source usually has few. */
const MOST_KNOWN = 64

/** The form of a row, and unread columns that may change the meaning of the row. */
interface KnownForm {
  form: RowForm | undefined
  unread: { names: string[]; unread: UnreadColumns; isRefused?: boolean }[]
}

/** Returns the first form that fits a row and its purpose. */
function knownForm(columns: RowColumns, purpose: RowPurpose): KnownForm {
  const fits = (form: RowForm, isThere: (value: unknown) => boolean): boolean =>
    fitsPurpose(form, purpose) &&
    Object.values(form.columns)
      .flat()
      .every((name) => {
        const found = columns.find(name)
        return found !== undefined && isThere(columns.value(found))
      })
  // A table has every column in every row, so a column of null only counts if no other form fits.
  const form =
    ROW_FORMS.find((form) => fits(form, (value) => value !== undefined)) ??
    ROW_FORMS.find((form) => fits(form, () => true))
  const own = (names: readonly string[]) => names.map((name) => columns.find(name)).filter((name) => name !== undefined)
  const choices = (purpose === PURPOSES.training || purpose === PURPOSES.question) && form?.columns.choices
  if (choices) return { form, unread: [{ names: own(choices), unread: MULTIPLE_CHOICE, isRefused: true }] }
  const read = new Set(
    (form ? Object.values({ ...form.optional, ...form.columns }).flat() : []).map((name) => name.split('.')[0]!),
  )
  const unread = UNREAD_COLUMNS.filter(
    ({ purposes, besideText }) =>
      (purposes?.some((name) => name === purpose.name) ?? true) && (besideText || !form?.columns.text),
  ).map((unread) => ({ names: own(unread.columns.filter((name) => !read.has(name))), unread }))
  return { form, unread: unread.filter(({ names }) => names.length > 0) }
}

/** Maximum number of characters of column names in a message. */
const MOST_NAMED = 300

const fitsPurpose = (form: RowForm, purpose: RowPurpose): boolean =>
  purpose.fits({ ...(form.optional?.completion && { completion: form.optional.completion }), ...form.columns }, form)

const MULTIPLE_CHOICE = UNREAD_COLUMNS.find(({ columns }) => columns.includes('choices'))!

/** Returns a sentence with the objective that takes rows other than examples; undefined if there is none. */
function objectiveOf(columns: RowColumns, purpose: RowPurpose): string | undefined {
  if (purpose !== PURPOSES.training) return undefined
  const found = COMPARED_KINDS.find((kind) => knownForm(columns, kind).form)
  return found && `train takes them with ${theOption('objective', found.compared.objective)}`
}

/** Refuses rows with an unread column that changes their meaning. */
function refuseUnread(columns: RowColumns, { form, unread }: KnownForm, purpose: RowPurpose): void {
  for (const { names, unread: one, isRefused } of unread) {
    const found = isRefused ? names : names.filter((name) => one.matters(columns.value(name)))
    if (found.length === 0) continue
    const { meaning, objective } = one
    const taken = objective ? `, which train takes with ${theOption('objective', objective)}` : ''
    const way = wayToRead(one, { found, columns, form, purpose })
    const them = found.length === 1 ? ['column', 'makes', 'it'] : ['columns', 'make', 'them']
    throw malformedRow(
      columns.where,
      `the ${them[0]} ${found.map(quoted).join(' and ')} ${them[1]} these rows ${meaning}${taken}; ignore ${them[2]} (${theOption('ignoreColumns', found)})${way ? ` or ${way}` : ''}`,
    )
  }
}

/** Returns the form that `columns` names. */
function namedForm(named: Readonly<Record<string, string>>): RowForm {
  const columns: Record<string, string[]> = {}
  const optional: Record<string, string[]> = {}
  for (const [given, column] of Object.entries(named)) {
    const part = given === 'question' ? 'prompt' : given
    if (!COLUMN_NAMES.includes(part)) {
      const parts = COLUMN_NAMES.join(', ')
      throw new UsageError('bad-value', `Expected parts of a row (${parts}) for columns but received ${quoted(given)}.`)
    }
    ;(MAY_BE_ABSENT.has(part) ? optional : columns)[part] = [column]
  }
  const whole = wholePart(columns)
  const unused = whole && CONVERSATION_PARTS.find((part) => part in optional)
  if (unused) {
    throw new UsageError(
      'unfit-options',
      `${TheOption('columns')} names ${unused} beside ${whole}, which is trained as it stands: leave ${unused} out, or name prompt or messages.`,
    )
  }
  return { name: 'columns', madeFor: '', use: '', columns, optional }
}

/** Roles whose named column a row may lack. */
const MAY_BE_ABSENT: ReadonlySet<string> = new Set([
  ...(['input', ...CONVERSATION_PARTS, 'subject', 'labels', 'weight'] satisfies RowPart[]),
  ...Object.values<RowKind>(KINDS).flatMap(({ mayLack = [] }) => mayLack),
])

function requireNamed(form: RowForm, columns: RowColumns, purpose: RowPurpose): void {
  const absent = Object.values(form.columns)
    .flat()
    .find((name) => columns.find(name) === undefined)
  if (absent !== undefined) {
    const known = shortened(columns.names.join(', '), MOST_NAMED) || 'none'
    throw malformedRow(
      columns.where,
      `${optionName('columns')} names ${quoted(absent)}, but the row has the columns ${known}`,
    )
  }
  const isAsked = purpose === PURPOSES.choices || form.columns.choices === undefined
  if (isAsked && fitsPurpose(form, purpose)) return
  throw malformedRow(
    columns.where,
    `${optionName('columns')} names ${Object.keys(form.columns).join(', ')}, and this needs ${purpose.needs}`,
  )
}
