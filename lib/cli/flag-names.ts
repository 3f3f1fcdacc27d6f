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
const naming = new RegExp(`(?:${called}|${standing})(?![\\w/"'-]|\\.\\w)(?:: (true|false)\\b|:(?= ))?`, 'g')

/**
 * Replaces `the option resume`, `the option packing: false` and `maxLength` by `--resume`, `--no-packing` and `--max-length`,
 * except in quotes or paths.
 */
export function inFlags(sentence: string): string {
  return sentence
    .replace(naming, (_, afterOption: string | undefined, alone: string, value: string | undefined) => {
      const key = afterOption ?? alone
      return value === 'false' ? `--no-${kebabCase(key)}` : flagOf(key)
    })
    .replaceAll('--allow-changes --', '--allow-changes ') // its value is a list of names
}
