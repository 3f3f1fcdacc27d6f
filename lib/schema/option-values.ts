/** Values of options that the command line and YAML files give as text. */
import { z } from 'zod'

/** Whether a text is a regular expression. */
export function isPattern(text: string): boolean {
  try {
    new RegExp(text)
    return true
  } catch {
    return false
  }
}

const SIZE_UNITS = ['', 'K', 'M', 'G', 'T']

/** Bytes, or NaN. */
export function parseSize(value: string): number {
  const [, number, prefix = '', binary, unit] = /^(\d+(?:\.\d+)?)\s*([KMGT])?(i?)(B?)$/i.exec(value.trim()) ?? []
  const base = unit && !binary ? 1000 : 1024
  return Math.round(Number(number) * base ** SIZE_UNITS.indexOf(prefix.toUpperCase()))
}

/** `PATTERN=NUMBER` with commas between them; NaN where there is no number. */
export function parsePatterns(value: string): Record<string, number> {
  return Object.fromEntries(
    splitNames(value).map((entry) => {
      const at = entry.lastIndexOf('=')
      return at < 0 ? [entry, Number.NaN] : [entry.slice(0, at).trim(), Number(entry.slice(at + 1))]
    }),
  )
}

/** Names with commas between them. */
export function splitNames(value: string): string[] {
  return value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
}

/** Names, a regular expression between slashes, or the word that stands for many names. */
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
