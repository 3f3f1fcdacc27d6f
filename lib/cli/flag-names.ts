/** Messages of the library name options as in its API; on the command line they are flags. */
import { z } from 'zod'
import * as schemas from '../options/index.js'
import { flagOf, kebabCase } from '../schema/names.js'

const keys = new Set(
  Object.values<unknown>(schemas).flatMap((value) => (value instanceof z.ZodObject ? Object.keys(value.shape) : [])),
)
// Names that are English words count only where a sentence calls them options.
const called = `\\b(?:[Tt]he )?option (${[...keys].join('|')})`
const standing = `(?<![\\w./"'-])(${[...keys].filter((key) => /[A-Z]/.test(key)).join('|')})`
const value = 'true|false|\\[[^\\]]*\\]|\\{[^}]*\\}'
const naming = new RegExp(`(?:${called}|${standing})(?![\\w/"'-]|\\.\\w)(?:: (${value})(?!\\w)|:(?= ))?`, 'g')

/**
 * Replaces `the option resume`, `the option packing: false` and `columns: { prompt: 'query' }` by `--resume`, `--no-packing` and
 * `--columns prompt=query`, except in quotes or paths.
 */
export function inFlags(sentence: string): string {
  return sentence.replace(naming, (_, afterOption: string | undefined, alone: string, value = 'true') => {
    const key = afterOption ?? alone
    if (value === 'false') return `--no-${kebabCase(key)}`
    if (value === 'true') return flagOf(key)
    const parts = [...value.matchAll(/(?:(\w+): )?'([^']*)'/g)].map(([, name, text]) =>
      name ? `${name}=${text}` : text,
    )
    return `${flagOf(key)} ${parts.map((part) => (key === 'allowChanges' ? kebabCase(part) : part)).join(',')}`
  })
}
