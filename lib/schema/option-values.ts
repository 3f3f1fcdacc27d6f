/** Parses values of options that the command line and YAML files give as text. */
import { z } from 'zod'

/** Maximum number of characters of a regular expression: V8 takes seconds to compile longer ones, or fails. */
export const MOST_OF_A_PATTERN = 8192

/** Whether a text compiles as a regular expression. */
export function isPattern(text: string): boolean {
  if (text.length > MOST_OF_A_PATTERN) return false
  try {
    new RegExp(text)
    return true
  } catch {
    return false
  }
}

const SIZE_UNITS = ['', 'K', 'M', 'G', 'T']

/** Returns a size in bytes, or NaN if the text is not one. */
export function parseSize(value: string): number {
  const [, number, prefix = '', binary, unit] = /^(\d+(?:\.\d+)?)\s*([KMGT])?(i?)(B?)$/i.exec(value.trim()) ?? []
  const base = unit && !binary ? 1000 : 1024
  return Math.round(Number(number) * base ** SIZE_UNITS.indexOf(prefix.toUpperCase()))
}

/** Parses a comma-separated list of `PATTERN=NUMBER`; NaN for a missing or invalid number. */
export function parsePatterns(value: string): Record<string, number> {
  return Object.fromEntries(
    splitNames(value).map((entry) => {
      const at = entry.lastIndexOf('=')
      return at < 0 ? [entry, Number.NaN] : [entry.slice(0, at).trim(), Number(entry.slice(at + 1))]
    }),
  )
}

/** Parses a comma-separated list of `NAME=TEXT`; an entry without a text has an empty one. */
export function parseTexts(value: string): Record<string, string> {
  return Object.fromEntries(
    splitNames(value).map((entry) => {
      const at = entry.indexOf('=')
      return at < 0 ? [entry, ''] : [entry.slice(0, at).trim(), entry.slice(at + 1).trim()]
    }),
  )
}

/** Splits a comma-separated list of names. */
export function splitNames(value: string): string[] {
  return value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

/** Returns a parser of names, a regular expression between slashes, or the word that stands for many names. */
export function parseTargets<Word extends string>(word: Word) {
  return (value: string, context: z.RefinementCtx): Word | string[] | RegExp => {
    if (value === word) return word
    const slashes = /^\/(.+)\/([a-z]*)$/s.exec(value)
    if (!slashes) return splitNames(value)
    try {
      return new RegExp(slashes[1]!, slashes[2])
    } catch {
      context.addIssue({ code: 'custom', message: 'no regular expression' })
      return z.NEVER
    }
  }
}
