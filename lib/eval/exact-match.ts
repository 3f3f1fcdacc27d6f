/** The task `exact-match`: answers of worked solutions, extracted and compared. */
import { continuationText, PromptCache, promptTokens, requireTokenizer, stopTokens } from '../generate/index.js'
import { complete } from './continuations.js'
import { taskRecords } from './rows.js'
import type { ExactMatchResult, TaskContext } from './task.js'

/** Generates a solution to each problem and compares its answer. A solution without an answer is wrong. */
export async function exactMatch(context: TaskContext): Promise<ExactMatchResult> {
  const { model, options, data, reading, template, templateContext, done, signal } = context
  const tokenizer = requireTokenizer(model)
  const stopIds = await stopTokens(model, template)
  const { maxNewTokens } = options
  const result: ExactMatchResult = { correct: 0, rows: 0, accuracy: 0 }
  using cache = new PromptCache(model)
  for await (const record of taskRecords(data, { limit: options.limit, signal })) {
    const { answer, ...question } = reading.question(record)
    const ids = await promptTokens(model, template, { ...templateContext, ...question }, signal)
    const name = `${record.where}: the prompt`
    const completion = await complete(cache, ids, { maxNewTokens, stopIds, name, signal })
    const generated = await continuationText(tokenizer, ids, completion)
    const expected = expectedAnswer(answer)
    const given = extractAnswer(generated)
    const correct = given !== null && isSameAnswer(given, expected)
    result.rows++
    if (correct) result.correct++
    result.accuracy = result.correct / result.rows
    await done(
      { prompt: question.prompt ?? question.messages, answer: expected, generated, extracted: given, correct },
      `accuracy ${result.accuracy.toFixed(3)}`,
    )
  }
  return result
}

/**
 * Extracts the answer from a text: the rest of the line after the last `####`, else the content of the last `\boxed{}`.
 * @returns null if there is neither
 */
export function extractAnswer(text: string): string | null {
  const mark = text.lastIndexOf('####')
  if (mark < 0) return lastBoxed(text)
  const after = text.slice(mark + 4).trimStart()
  const line = after.split('\n', 1)[0]!.trim()
  return lastBoxed(line) ?? line
}

function lastBoxed(text: string): string | null {
  const command = '\\boxed{'
  const start = text.lastIndexOf(command)
  if (start < 0) return null
  let depth = 1
  for (let i = start + command.length; i < text.length; i++) {
    if (text[i] === '{') depth++
    else if (text[i] === '}' && --depth === 0) return text.slice(start + command.length, i).trim()
  }
  return null
}

/** Returns the answer that a row expects, which may be inside a worked solution, or have a unit in brackets (ASDiv). */
export function expectedAnswer(answer: string): string {
  return extractAnswer(answer) ?? answer.trim().replace(/^([-+]?[\d.,]+)\s*\([^()]*\)$/, '$1')
}

/**
 * Tells whether an answer is the expected one. Two numbers are compared as numbers (with thousands commas, currency and percent
 * signs, a trailing dot, and in the given answer a unit in letters), anything else as text without surrounding space and a
 * trailing dot.
 */
export function isSameAnswer(given: string, expected: string): boolean {
  const number = canonicalNumber(expected)
  if (number === null) return plainText(given) === plainText(expected)
  return (canonicalNumber(given) ?? canonicalNumber(withoutUnit(given))) === number
}

const MONEY = /[$€£¥]/g

/** Returns a canonical spelling of a number, so that digits beyond float64 count too; null for anything else. */
export function canonicalNumber(text: string): string | null {
  const bare = text
    .replace(/\\[,!;\s]/g, '')
    .replace(/\\(?=[$%])/g, '')
    .replace(MONEY, '')
    .trim()
    .replace(/\.$/, '')
    .replace(/\s*%$/, '')
    .replace(/^([+-])\s+/, '$1')
  const decimal = /^([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(?:\.(\d*))?$/.exec(bare)
  if (decimal && (decimal[2] !== undefined || decimal[3])) {
    const whole = (decimal[2] ?? '').replaceAll(',', '').replace(/^0+/, '')
    const fraction = (decimal[3] ?? '').replace(/0+$/, '')
    const digits = `${whole || '0'}${fraction && `.${fraction}`}`
    return digits === '0' ? '0' : `${decimal[1] === '-' ? '-' : ''}${digits}`
  }
  if (!/^[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d+$/i.test(bare)) return null
  // Small and large numbers are written in full, so that 1e3 is 1000.
  const value = Number(bare)
  return Number.isFinite(value) ? (canonicalNumber(value.toLocaleString('en', FULL)) ?? String(value)) : null
}

const FULL = { useGrouping: false, maximumSignificantDigits: 17 } as const

function withoutUnit(text: string): string {
  return text
    .trim()
    .replace(/\.$/, '')
    .replace(/(?<=[\d.%])\s*[\p{L}][\p{L} ]*$/u, '')
}

function plainText(text: string): string {
  return text.trim().replace(/\.$/, '').trim().replace(/\s+/g, ' ')
}
