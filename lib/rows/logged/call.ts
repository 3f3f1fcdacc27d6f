/** A call of a model as a service logs it: where a record holds the prompt, its tools and the answer. */
import { isJsonObject, type JsonObject } from '../../io/json.js'
import type { RowForm } from '../forms.js'
import { langChainFields } from '../langchain.js'

/** Why a record is left out of training: its call failed, has no answer, has one that was cut, or it is no call of a model. */
export const WHY_LEFT_OUT = {
  failed: 'that failed',
  unanswered: 'without an answer',
  unfinished: 'with an answer that a limit or a filter has cut',
  others: 'that are no calls of a model (spans, tools, chains)',
} as const
export type WhyLeftOut = keyof typeof WHY_LEFT_OUT

/** A value and its place in the record: `choices[0].message`. */
export interface LoggedPart {
  at: string
  value: unknown
}

export interface LoggedCall {
  /** A text, messages, or an object that holds one of them. */
  prompt: LoggedPart
  answer: LoggedPart
  tools?: LoggedPart | undefined
  /** Absent if the answer is trained. */
  leftOut?: WhyLeftOut | undefined
}

/** How a record is read. */
export interface Reader {
  /** The record's place, for errors. */
  where: string
  /** Parses JSON; undefined for another text. */
  parse: (text: string) => unknown
}

/** A form of logged calls. Its columns are for the docs: a call says where its parts are. */
export interface LoggedForm extends RowForm {
  fits(row: JsonObject): boolean
  /** @throws InputError `malformed-row` */
  call(row: JsonObject, reader: Reader): LoggedCall
}

export const loggedForm = (
  name: string,
  madeFor: string,
  columns: RowForm['columns'],
  read: Pick<LoggedForm, 'fits' | 'call'>,
): LoggedForm => ({ name, madeFor, use: 'the answer, with its end token', columns, ...read })

/** The answer of a call that is left out whatever it says. */
export const noAnswer = (at: string, leftOut: WhyLeftOut) => ({ answer: { at, value: undefined }, leftOut })

/** Returns the place of a key. */
export const within = (at: string, key: string): string => (at === '' ? key : `${at}.${key}`)

export const isListOfObjects = (value: unknown): value is JsonObject[] =>
  Array.isArray(value) && value.length > 0 && value.every(isJsonObject)

export function isEmpty(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0
  return value === undefined || value === null || (typeof value === 'string' && value.trim() === '')
}

/** Keys of requests and of responses. */
const OF_CALLS = ['messages', 'choices', 'generations']

/** Tells whether a value is messages, or an object of a request or of an answer: JSON of anything else stays a text. */
function isOfCalls(value: unknown): boolean {
  const isMessage = (one: JsonObject) => 'role' in one || langChainFields(one) !== undefined
  if (Array.isArray(value)) return isListOfObjects(value.flat()) && value.flat().some(isMessage)
  return isJsonObject(value) && (isMessage(value) || OF_CALLS.some((key) => key in value))
}

/** Returns what a text of JSON holds, if it is messages, a request or an answer. */
export function unquoted(value: unknown, { parse }: Reader): unknown {
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return value
  const parsed = parse(value)
  return isOfCalls(parsed) ? parsed : value
}
