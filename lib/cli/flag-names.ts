/** Messages of the library name options as in its API; on the command line they are flags. */
import * as schemas from '../options/index.js'
import { kebabCase } from '../schema/names.js'
import type { OptionsSchema } from '../schema/option-facts.js'

const isSchema = (value: unknown): value is OptionsSchema =>
  typeof value === 'object' && value !== null && 'shape' in value

const keys = [
  ...new Set(
    Object.values<unknown>(schemas)
      .filter(isSchema)
      .flatMap(({ shape }) => Object.keys(shape)),
  ),
]
// Option names that are English words count only where a sentence calls them options.
const ofSeveralWords = keys.filter((key) => /[A-Z]/.test(key))
const called = new RegExp(`\\b([Tt]he )?option (${keys.join('|')})\\b(:(?= ))?`, 'g')
const answered = new RegExp(`\\b([Tt]he )?option (${keys.join('|')}): (true|false)\\b`, 'g')
const standing = new RegExp(`(?<![\\w./"'-])(${ofSeveralWords.join('|')})(?![\\w/"'-]|\\.\\w)(:(?= ))?`, 'g')

/**
 * Replaces `the option resume`, `the option packing: false` and `maxLength` by `--resume`, `--no-packing` and `--max-length`,
 * except in quotes or paths.
 */
export function inFlags(sentence: string): string {
  return sentence
    .replace(answered, (_, __, key: string, value) => `--${value === 'true' ? '' : 'no-'}${kebabCase(key)}`)
    .replace(called, (_, __, key: string) => `--${kebabCase(key)}`)
    .replace(standing, (_, key: string) => `--${kebabCase(key)}`)
    .replaceAll('--allow-changes --', '--allow-changes ') // its value is a list of names
}
