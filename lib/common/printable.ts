/** Makes foreign text safe to show: it cannot control a terminal or reverse a line, and messages have a limited length. */

/** Control characters except tab and newline, other line separators, direction overrides, and lone surrogates. */
const UNSEEN = /(?![\t\n])\p{Cc}|[\u202a-\u202e\u2066-\u2069\p{Zl}\p{Zp}\p{Cs}]/gu

/** Most bytes of UTF-8 in a message. */
const MOST_OF_A_MESSAGE = 2000

/** Writes unprintable characters as `\u001b` and the like. JSON, which has them in strings only, keeps its meaning. */
export function printable(text: string): string {
  return text.replace(UNSEEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Patterns of this process's secrets. */
const secrets = new Map<string, RegExp>()

/** Keeps a secret out of all further messages, even if it comes back with characters encoded as `%41`. */
export function keepSecret(secret: string): void {
  if (secrets.has(secret)) return
  const characters = [...Buffer.from(secret)].map((byte) => {
    const hex = byte.toString(16).padStart(2, '0')
    return `(?:\\x${hex}|%(?:${hex}|${hex.toUpperCase()}))`
  })
  secrets.set(secret, new RegExp(characters.join(''), 'g'))
}

/** Makes a message of a text: printable, one line, and with its middle left out if it is longer than 2 kB. */
export function asMessage(text: string): string {
  const line = shortened(text, MOST_OF_A_MESSAGE)
    .trim()
    .replace(/\s*\n\s*/g, ' ')
  return shortened(printable(line), MOST_OF_A_MESSAGE)
}

/** Removes secrets, and shortens to at most `bytes` of UTF-8: an ellipsis replaces the middle. Characters stay whole. */
export function shortened(given: string, bytes: number): string {
  // Before shortening, since a part of a secret would not be found.
  const text = [...secrets.values()].reduce((rest, secret) => rest.replace(secret, '(secret)'), given)
  // A UTF-16 unit takes at least one byte and at most three.
  if (text.length * 3 <= bytes) return text
  const whole = text.length > 2 * bytes ? text.slice(0, bytes) + text.slice(-bytes) : text
  const encoded = Buffer.from(whole)
  if (encoded.length <= bytes) return text
  const half = Math.floor((bytes - ELLIPSIS_BYTES) / 2)
  let [end, start] = [half, encoded.length - half]
  while (goesOn(encoded[end])) end--
  while (goesOn(encoded[start])) start++
  return `${encoded.toString('utf8', 0, end)}…${encoded.toString('utf8', start)}`
}

const ELLIPSIS_BYTES = 3

/** Whether a byte continues a character. */
const goesOn = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80

export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** Returns the form of `be` in the past that fits a number. */
export const were = (count: number): string => (count === 1 ? 'was' : 'were')
