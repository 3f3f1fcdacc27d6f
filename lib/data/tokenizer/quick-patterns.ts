/**
 * Regular expressions of a tokenizer split every text that is read, and some of them take longer than anybody can wait for on
 * a short one: `(a+)+$` does. Which ones is found by trying texts that bring such out.
 */
import { InputError } from '../../common/errors.js'
import { withinTime } from '../../common/time-limit.js'
import { foreignPatterns } from './pre-tokenizers.js'

const MOST_MILLISECONDS = 5000
const RUN = 1000
const MOST_CHARACTERS = 100
const MOST_PAIRED = 10
/** One of each kind that patterns tell apart. */
const KINDS = [..."aZ7 \n\t.'_-é中\u0301"]

/**
 * @param encode makes ids of a text
 * @param origin names the tokenizer in errors
 * @throws InputError `slow-pattern`
 */
export function requireQuickPatterns(
  { normalizer, pre_tokenizer }: Readonly<Record<string, unknown>>,
  encode: (text: string) => void,
  origin: string,
): void {
  const patterns = foreignPatterns(normalizer, pre_tokenizer)
  if (patterns.length === 0) return
  const encodeAll = () => {
    for (const text of revealingTexts(patterns)) encode(text)
  }
  withinTime(MOST_MILLISECONDS, encodeAll, (reason) => {
    const problem = `the regular expressions that it splits text with do not end in time (${reason})`
    return new InputError('slow-pattern', `The tokenizer of ${origin} cannot be used: ${problem}.`)
  })
}

/** Runs of one character and of two in turn, of those that the patterns name and one of each kind, with an end that fits nothing. */
function* revealingTexts(patterns: readonly string[]): Generator<string> {
  const named = [...new Set(patterns.join(''))].slice(0, MOST_CHARACTERS)
  for (const character of new Set([...KINDS, ...named])) yield `${character.repeat(RUN)}\u0001`
  const letters = named.filter((character) => /[\p{L}\p{N}\s]/u.test(character)).slice(0, MOST_PAIRED)
  for (const one of letters)
    for (const other of letters) if (one < other) yield `${(one + other).repeat(RUN / 2)}\u0001`
}
