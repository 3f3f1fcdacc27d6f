/** Rewards for `grpo` that many tasks need. */
import { createRequire } from 'node:module'
import { z } from 'zod'
import { anyText, check, expecting, wholeFrom } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { jsonIn } from '../io/json.js'
import type { JudgedAnswer, Reward } from '../objectives/rewards.js'
import type { AnyRow } from '../rows/sources/source.js'
import { expectedAnswer, extractAnswer, isSameAnswer } from '../tasks/answers.js'

const aPattern = expecting('a regular expression', z.instanceof(RegExp))
const aSchema = expecting(
  'a zod schema or a JSON schema',
  z.union([z.instanceof(z.ZodType), z.record(z.string(), z.unknown())]),
)

/** Returns a reward: 1 for answers that match a regular expression, 0 for others. */
export function regexReward(pattern: RegExp): Reward<unknown> {
  check({ pattern }, { pattern: aPattern })
  // A pattern with the flag g or y would begin where it last ended.
  const own = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''))
  return function regex({ completion }) {
    return Number(own.test(completion))
  }
}

/** Returns a reward: 1 for answers that are JSON of a schema and nothing else, 0 for others. */
export function jsonReward(schema: z.ZodType | Readonly<Record<string, unknown>>): Reward<unknown> {
  check({ schema }, { schema: aSchema })
  const isValid = schema instanceof z.ZodType ? (value: unknown) => schema.safeParse(value).success : validator(schema)
  return function json({ completion }) {
    const value = jsonIn(completion)
    return Number(value !== undefined && isValid(value))
  }
}

/** @throws UsageError `bad-value` if the schema is no JSON schema */
function validator(schema: Readonly<Record<string, unknown>>): (value: unknown) => boolean {
  // Only few programs need it.
  const { Ajv2020 } = createRequire(import.meta.url)('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js')
  try {
    const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(schema)
    return (value) => validate(value)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError('bad-value', `Expected a JSON schema for jsonReward, but it is none: ${why}.`, { cause })
  }
}

/**
 * Returns a reward: 1 for answers that are the expected one as `mora eval --task exact-match` compares them, 0 for others. An answer
 * stands behind `####`, in `\boxed{}` or behind `The answer is`; without any of these it is the whole text.
 * @param column of the row with the expected answer
 */
export function answerReward(column = 'answer'): Reward<unknown> {
  check({ column }, { column: anyText })
  return function answer({ completion, row }) {
    const expected = expectedAnswer(String((row as AnyRow)[column] ?? ''))
    return Number(isSameAnswer(extractAnswer(completion) ?? completion, expected))
  }
}

/** Returns a reward for length: 0 for up to `most` tokens after the prompt, and minus the share by which an answer is longer. */
export function lengthReward(most: number): Reward<unknown> {
  check({ most }, { most: wholeFrom(1) })
  return function length({ ids }) {
    return -Math.max(0, ids.length - most) / most
  }
}

/**
 * Returns a reward: 1 for answers that consist of these tags in their order, each once, with text inside and white space between
 * them, such as `<think>…</think><answer>…</answer>`; 0 for others.
 */
export function tagsReward(...tags: string[]): Reward<unknown> {
  check({ tags }, { tags: expecting('names of tags', z.array(z.string().regex(/^[\w-]+$/)).min(1)) })
  const parts = tags.map((tag) => `<${tag}>(?:(?!</?${tag}>)[^])*\\S(?:(?!</?${tag}>)[^])*</${tag}>`)
  const form = new RegExp(`^\\s*${parts.join('\\s*')}\\s*$`)
  return function format({ completion }: JudgedAnswer<unknown>) {
    return Number(form.test(completion))
  }
}
