/** Text of others as it may be shown: nothing in it steers a terminal or turns the order of a line, and messages have an end. */

/** Control characters but tab and newline, what ends lines elsewhere, overrides of the direction, and halves of pairs. */
const UNSEEN = /(?![\t\n])\p{Cc}|[\u202a-\u202e\u2066-\u2069\p{Zl}\p{Zp}\p{Cs}]/gu

/** Bytes of UTF-8. */
const MOST_OF_A_MESSAGE = 2000

/** With `\u001b` for an escape character and its like. In JSON, where these only stand in texts, it means the same as before. */
export function printable(text: string): string {
  return text.replace(UNSEEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** What finds the secrets of this process. */
const secrets = new Map<string, RegExp>()

/** Keeps a secret out of every message from now on, also where somebody repeats it with characters as `%41`. */
export function keepSecret(secret: string): void {
  if (secrets.has(secret)) return
  const characters = [...Buffer.from(secret)].map((byte) => {
    const hex = byte.toString(16).padStart(2, '0')
    return `(?:\\x${hex}|%(?:${hex}|${hex.toUpperCase()}))`
  })
  secrets.set(secret, new RegExp(characters.join(''), 'g'))
}

/** As a message: printable, one line, and without its middle where it is longer than 2 kB. */
export function asMessage(text: string): string {
  const line = shortened(text, MOST_OF_A_MESSAGE)
    .trim()
    .replace(/\s*\n\s*/g, ' ')
  return shortened(printable(line), MOST_OF_A_MESSAGE)
}

/** Without secrets, and at most `bytes` of UTF-8: an ellipsis takes the place of the middle. Characters stay whole. */
export function shortened(given: string, bytes: number): string {
  // Before it is cut: a part of a secret would not be found.
  const text = [...secrets.values()].reduce((rest, secret) => rest.replace(secret, '(secret)'), given)
  // A unit of UTF-16 is a byte at least, and three at most.
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

/** Whether a byte is not the first one of its character. */
const goesOn = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80
