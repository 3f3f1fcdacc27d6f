/** Suggests names of columns: columns whose role is certain by name and value, else `COLUMN`. */
import { theOption } from '../common/option-names.js'
import { isJsonObject } from '../io/json.js'
import type { RowColumns } from './columns.js'
import type { RowForm, RowPurpose, UnreadColumns } from './forms.js'

const words = (list: string): ReadonlySet<string> => new Set(list.split(' '))

const PROMPTS = words('prompt question query instruction problem input request q')
const ANSWERS = words('completion answer response output solution reply truth summary a')
/** Names of reference answers. Without another answer such a column may be something else, such as a source. */
const REFERENCES = words('reference gold target expected ideal')
const TEXTS = words('text content body document article passage sentence story review abstract')
/** Words at the end of a name that do not describe the content: `question_text`. */
const NEUTRAL = words('text string str content body')
/** Pairs of names for a prompt and its answer. */
const PAIRS = ['user assistant', 'human assistant', 'human gpt', 'human bot', 'source target', 'document summary']
const GOOD = words('chosen preferred accepted good better best winner winning correct true right gold positive')
const BAD = words('rejected dispreferred bad worse worst loser losing incorrect wrong false poor negative non not less')

/** Minimum number of words of a value that counts as text by its content alone. */
const FEW_WORDS = 4

/** A column that may be named. */
interface Candidate {
  name: string
  words: readonly string[]
  /** The last word of the name that describes the content, in the singular. */
  noun: string
}

/** The columns of a row whose role is certain. */
interface SureColumns {
  prompt?: string
  input?: string
  completion?: string
  chosen?: string
  rejected?: string
  text?: string
  messages?: string
  /** Whether there are several answers to a prompt. */
  hasSeveralAnswers: boolean
  /** Whether no other column may be the answer, such as the ground truth beside a model's response. */
  isOneAnswer: boolean
}

function sureColumns(columns: RowColumns): SureColumns {
  const found = candidates(columns, columns.names)
  const all = found.some(({ noun }) => PROMPTS.has(noun) || ANSWERS.has(noun)) ? found : nested(columns)
  const answers = all.filter(({ noun }) => ANSWERS.has(noun))
  const marked = (marks: ReadonlySet<string>) => answers.filter((one) => one.words.some((word) => marks.has(word)))
  const bad = marked(BAD)
  const good = marked(GOOD).filter((one) => !bad.includes(one))
  const others = answers.filter((one) => !bad.includes(one))
  const nouns = new Set(answers.map(({ noun }) => noun))
  const asked = askedOf(all)
  const isOneAnswer = answers.length + all.filter(({ noun }) => REFERENCES.has(noun)).length <= 1
  const hasSeveralAnswers = answers.length > 1 && (bad.length + good.length > 0 || nouns.size < answers.length)
  const pair = PAIRS.map((names) => names.split(' ').map((name) => found.find((one) => one.noun === name)?.name)).find(
    (names) => names.every((name) => name !== undefined),
  )
  return {
    ...asked,
    ...(others.length === 1 && isOneAnswer && { completion: others[0]!.name }),
    ...(hasSeveralAnswers && {
      chosen: good.length === 1 ? good[0]!.name : others.length === 1 ? others[0]!.name : undefined,
      rejected: bad.length === 1 ? bad[0]!.name : undefined,
    }),
    ...(asked.prompt === undefined && answers.length === 0 && pair && { prompt: pair[0], completion: pair[1] }),
    text: textOf(columns, found),
    messages: onlyOne(turnLists(columns)),
    hasSeveralAnswers,
    isOneAnswer,
  }
}

/** An input accompanies another prompt; among several prompts, only a name of a single word is certain. */
function askedOf(all: readonly Candidate[]): Pick<SureColumns, 'prompt' | 'input'> {
  const asked = all.filter(
    ({ noun, words }) => PROMPTS.has(noun) && !words.includes('system') && !words.some((word) => BAD.has(word)),
  )
  const inputs = asked.filter(({ noun }) => noun === 'input')
  const rest = asked.filter(({ noun }) => noun !== 'input')
  const plain = asked.filter((one) => one.words.length === 1)
  if (asked.length === 2 && inputs.length === 1) return { prompt: rest[0]!.name, input: inputs[0]!.name }
  return { prompt: (onlyOne(asked) ?? onlyOne(plain))?.name }
}

function textOf(columns: RowColumns, found: readonly Candidate[]): string | undefined {
  const alone = columns.names.length === 1 ? found[0] : undefined
  if (alone && !PROMPTS.has(alone.noun) && String(columns.value(alone.name)).split(/\s+/).length >= FEW_WORDS)
    return alone.name
  return onlyOne(found.filter((one) => one.words.length === 1 && TEXTS.has(one.words[0]!)))?.name
}

const onlyOne = <Item>(items: readonly Item[]): Item | undefined => (items.length === 1 ? items[0] : undefined)

/** Returns the columns with text, without values such as ids, addresses and times. */
function candidates(columns: RowColumns, names: readonly string[]): Candidate[] {
  return names.flatMap((name) => {
    const words = wordsOf(name)
    const noun = nounOf(words)
    const value = columns.value(name)
    const isNumber = typeof value === 'number' && ANSWERS.has(noun)
    return isNumber || (typeof value === 'string' && isLanguage(value)) || isTurns(value) ? [{ name, words, noun }] : []
  })
}

/** Returns the texts one level down, named by their key, or by their column if it holds no other text. */
function nested(columns: RowColumns): Candidate[] {
  return columns.names.flatMap((column) => {
    const value = columns.value(column)
    if (!isJsonObject(value)) return []
    const keys = Object.keys(value).filter((key) => !key.includes('.'))
    const own = candidates(
      columns,
      keys.map((key) => `${column}.${key}`),
    )
    const outer = nounOf(wordsOf(column))
    return own.flatMap(({ name, words }) => {
      const inner = nounOf(wordsOf(name.slice(column.length + 1)))
      const isOpposite = (PROMPTS.has(outer) && ANSWERS.has(inner)) || (ANSWERS.has(outer) && PROMPTS.has(inner))
      if (isOpposite) return []
      if (PROMPTS.has(inner) || ANSWERS.has(inner)) return [{ name, words, noun: inner }]
      return own.length === 1 ? [{ name, words, noun: outer }] : []
    })
  })
}

function wordsOf(name: string): string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
}

/** Returns the last word without numbers and letters behind it (`response_0`, `answer_b`), and without a plural's s. */
function nounOf(words: readonly string[]): string {
  const rest = words.map((word) => word.replace(/(?<=\p{L})\d+$/u, ''))
  while (rest.length > 1 && (rest.at(-1)!.length === 1 || /^\d+$/.test(rest.at(-1)!) || NEUTRAL.has(rest.at(-1)!)))
    rest.pop()
  const last = rest.at(-1) ?? ''
  return last.endsWith('s') && last.length > 2 ? last.slice(0, -1) : last
}

/** Addresses, UUIDs, hashes, times, paths, versions and numbers. */
const NO_LANGUAGE =
  /^(?:[a-z][a-z0-9+.-]*:\/\/\S+|www\.\S+|[0-9a-f-]{16,}|\d{4}-\d\d-\d\d\S*(?: [\d:.+]+)?|[\d\s.,:/%+-]+|\S+\.[a-z]{2,4}\/\S*)$/i

const isLanguage = (value: string): boolean => value.trim() !== '' && !NO_LANGUAGE.test(value.trim())

/** Whether a value is a list of messages, each with a speaker and content. */
function isTurns(value: unknown): boolean {
  const isTurn = (one: unknown) =>
    isJsonObject(one) &&
    ['role', 'from'].some((key) => typeof one[key] === 'string') &&
    ['content', 'value', 'parts', 'tool_calls'].some((key) => key in one)
  return Array.isArray(value) && value.length > 0 && value.every(isTurn)
}

/** Requests of a chat end with the user's turn. */
function endsWithAnswer(turns: unknown): boolean {
  const { role, from } = (turns as Record<string, unknown>[]).at(-1)!
  return !['user', 'human', 'system'].includes(String(role ?? from))
}

function turnLists(columns: RowColumns): string[] {
  const names = columns.names.flatMap((name) => {
    const value = columns.value(name)
    const keys = isJsonObject(value) ? Object.keys(value).filter((key) => !key.includes('.')) : []
    return [name, ...keys.map((key) => `${name}.${key}`)]
  })
  return names.filter((name) => isTurns(columns.value(name)))
}

/** Returns parts and columns as the option `columns` has them. */
function columnsOption(parts: Readonly<Record<string, string | undefined>>): string {
  const named = Object.entries(parts).map(([part, column = 'COLUMN']) => [part, column])
  return theOption('columns', Object.fromEntries(named))
}

/** Returns the columns of a form's parts that are one column. */
function columnsOf(columns: RowColumns, form: RowForm | undefined): Readonly<Record<string, string>> {
  const parts = Object.entries({ ...form?.optional, ...form?.columns })
  const single = parts.flatMap(([part, names]) => {
    const found = names.length === 1 ? columns.find(names[0]!) : undefined
    return found === undefined ? [] : [[part, found] as const]
  })
  return Object.fromEntries(single)
}

/** Returns the columns of a prompt and its completion, or of messages, by the keys of objects. */
export function adviceFor(columns: RowColumns, form: RowForm): string {
  const { prompt, completion, messages } = sureColumns(columns)
  return columnsOption(form.columns.messages ? { messages } : { prompt, completion })
}

/** Returns a way to read rows including a column that is not read by default; undefined if there is none. */
export function wayToRead(
  { way }: UnreadColumns,
  {
    found,
    columns,
    form,
    purpose,
  }: { found: readonly string[]; columns: RowColumns; form: RowForm | undefined; purpose: RowPurpose },
): string | undefined {
  if (way === undefined || form?.columns.input_ids) return undefined
  const sure = sureColumns(columns)
  const { hasSeveralAnswers, isOneAnswer, ...named } = sure
  const known: Partial<Record<string, string>> = { ...named, ...columnsOf(columns, form) }
  const { prompt, choices, answer } = known
  const completion = isOneAnswer ? known.completion : undefined
  if (way === 'preferred') {
    const preferred = found.find((name) => name.toLowerCase().startsWith('chosen'))
    if (preferred === undefined) return undefined
    const asked = prompt ?? columns.find('messages')
    const alone = isTurns(columns.value(preferred)) ? { messages: preferred } : { text: preferred }
    const parts = asked === undefined ? alone : { prompt: asked, completion: preferred }
    return `train the preferred answers alone (${columnsOption(parts)})`
  }
  if (form?.columns.messages) return undefined
  if (way === 'answer') {
    const listed = found.flatMap((name) => columns.value(name))
    const isText = completion !== undefined && listed.includes(columns.value(completion))
    return `name the columns to train (${columnsOption({ prompt, completion: isText ? completion : undefined })})`
  }
  const asked = { prompt, input: found[0] }
  const answers: Readonly<Record<string, object>> = {
    training: { completion },
    prompt: {},
    question: { answer: answer ?? completion },
    choices: { choices, answer },
  }
  if (purpose.parts && !purpose.parts.includes('prompt')) return undefined
  const own = purpose.name ? answers[purpose.name] : columnsIn(purpose.parts ?? [], { ...known, completion })
  const first = purpose.name === 'choices' ? { question: prompt, input: found[0] } : asked
  return `put it after the prompt (${columnsOption({ ...first, ...own })})`
}

/** Returns the known columns of parts other than the prompt. */
const columnsIn = (parts: readonly string[], known: Partial<Record<string, string>>) =>
  Object.fromEntries(parts.filter((part) => part !== 'prompt').map((part) => [part, known[part]]))

/** Returns the options that probably fit a row of unknown form. */
export function suggestion(columns: RowColumns, purpose: RowPurpose): string {
  const sure = sureColumns(columns)
  const { prompt, input, completion, chosen, rejected, text, messages, hasSeveralAnswers } = sure
  const asked = { prompt, ...(input !== undefined && { input }) }
  const of = (parts: Readonly<Record<string, string | undefined>>) =>
    `name the columns by role, as in ${columnsOption(parts)}`
  const { name, parts } = purpose
  if (name === 'choices') return of({ question: prompt, choices: undefined, answer: undefined })
  if (parts) {
    const own = columnsIn(parts, { text, completion, chosen, rejected, label: columns.find('label') })
    return of({ ...(parts.includes('prompt') && asked), ...own })
  }
  if (hasSeveralAnswers && name === 'training') {
    const pairs = columnsOption({ ...asked, chosen, rejected })
    return `two answers to a prompt are preferences, which train takes with ${theOption('objective', 'dpo')} and ${pairs}; ${of({ ...asked, completion })}`
  }
  if (messages !== undefined && (name !== 'training' || endsWithAnswer(columns.value(messages)))) {
    return of({ messages })
  }
  if (name === 'prompt') return of(asked)
  if (name === 'training' && text !== undefined && prompt === undefined && completion === undefined) return of({ text })
  return of({ ...asked, [name === 'training' ? 'completion' : 'answer']: completion })
}

interface ForeignRow {
  /** Columns that identify the program. */
  columns: readonly string[]
  fits: (...values: unknown[]) => boolean
  advice: () => string
}

const isListOf = (value: unknown, key: string) =>
  Array.isArray(value) && value.length > 0 && value.every((one) => isJsonObject(one) && key in one)

const FOREIGN_ROWS: readonly ForeignRow[] = [
  {
    columns: ['choices', 'question_id'],
    fits: (choices) => isListOf(choices, 'turns'),
    advice: () =>
      'these are answers of a model for a judge (FastChat), whose questions are in another file: join both by question_id into rows of messages',
  },
  {
    columns: ['resourceSpans'],
    fits: Array.isArray,
    advice: () =>
      "this is a batch of OpenTelemetry's spans: write a span a line (jq -c '.resourceSpans[].scopeSpans[].spans[]')",
  },
  {
    columns: ['data', 'annotations'],
    fits: (data, annotations) => isJsonObject(data) && isListOf(annotations, 'result'),
    advice: () =>
      `this is an export of Label Studio with all that it knows of a task: export it as JSON-MIN or CSV, and name its columns (${theOption('columns', { prompt: 'COLUMN', completion: 'COLUMN' })})`,
  },
]

/** Returns advice for a row of another program; undefined for any other row. */
export function foreignRow(columns: RowColumns): string | undefined {
  const value = (name: string) => columns.value(columns.find(name) ?? name)
  const found = FOREIGN_ROWS.find(
    ({ columns: names, fits }) =>
      names.every((name) => columns.find(name) !== undefined) && fits(...names.map((name) => value(name))),
  )
  return found?.advice()
}
