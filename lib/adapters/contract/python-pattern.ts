/** Converts Python's regular expressions, which PEFT's files have, to JavaScript's. */
import { InputError, quoted } from '../../common/errors.js'
import { MOST_OF_A_PATTERN } from '../../schema/option-values.js'
import { MERGE_WITH_PEFT } from './adapter.js'

/** Escapes and groups, in or outside of a class of characters. */
const PART = /\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|.)|\[\^?\]?|\]|\(\?(?:P[<=]|<[=!]?|[^<P])?|\{,(?=\d+\})|[*+?}][+]/gs
/** Escapes that mean the same in both. */
const SHARED_ESCAPE = /^\\(?:[dDwWsSbBnrtfv\d]|x.{2}|u.{4}|[^a-zA-Z])$/
const GROUPS = ['(?P<', '(?P=', '(?:', '(?=', '(?!', '(?<', '(?<=', '(?<!']

/**
 * Returns a regular expression of Python in JavaScript's words.
 * @param place the file and its entry, at the start of errors
 * @throws InputError `malformed-file` that names what only Python has, or the expression if it is none
 */
export function fromPython(pattern: string, place: string): string {
  const refuse = (why: string) =>
    new InputError(
      'malformed-file',
      `${place} has the regular expression ${quoted(pattern)}, which ${why}: write names of layers in its place, or ${MERGE_WITH_PEFT}.`,
    )
  if (pattern.length > MOST_OF_A_PATTERN) throw refuse(`is longer than ${MOST_OF_A_PATTERN} characters`)
  let isInClass = false
  let isReference = false
  const translated = pattern.replace(PART, (part) => {
    if (part[0] === '\\') {
      if (SHARED_ESCAPE.test(part)) return part
      if (part === '\\a') return '\\x07'
      if (!isInClass && part === '\\A') return '^'
      if (!isInClass && (part === '\\Z' || part === '\\z')) return '$'
      throw refuse(`has ${part}, which is not supported here`)
    }
    if (part[0] === '[') {
      if (isInClass) {
        isInClass = !part.endsWith(']')
        return part.replace('[', '\\[')
      }
      isInClass = true
      // Python takes a bracket at the start of a class as a character.
      return part.replace(']', '\\]')
    }
    if (part === ']') {
      isInClass = false
      return part
    }
    if (isInClass) return part
    if (part === '{,') return '{0,'
    if (/^[*+?}][+]$/.test(part)) throw refuse(`has the possessive quantifier ${part}, known to Python alone`)
    if (part === '(?P=') {
      isReference = true
      return '\\k<'
    }
    if (part === '(?P<') return '(?<'
    if (!GROUPS.includes(part)) throw refuse(`has ${part}, known to Python alone`)
    return part
  })
  // The name of a reference ends with a parenthesis in Python.
  const named = isReference ? translated.replace(/\\k<(\w+)\)/g, '\\k<$1>') : translated
  try {
    new RegExp(named)
  } catch {
    throw refuse('is not valid')
  }
  return named
}

/** Returns a regular expression of JavaScript without flags in Python's words. */
export function toPython(pattern: string): string {
  return pattern.replace(/\(\?<(?![=!])/g, '(?P<').replace(/\\k<(\w+)>/g, '(?P=$1)')
}
