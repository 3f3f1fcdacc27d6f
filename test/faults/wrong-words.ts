/** Finds what a displayed text must not contain: control characters, more than 2 kB, and words of V8 and C++. */

/** Messages of V8, of JSON.parse, of regular expressions, of the standard library of C++. */
const FOREIGN =
  /Unexpected (end of JSON|non-whitespace)|(in|not valid) JSON at|Unexpected token .*JSON|SyntaxError|Cannot (read|set|convert|mix|destructure)|is not (a function|iterable|defined)|Invalid (array|string|typed array|array buffer|regular expression|count)|Maximum call stack|Array buffer allocation|\bstd::|bad_alloc|bad control character|Unterminated|outside the bounds|\[object |\bat .*\.[jt]s:\d+:\d+/i

/** Lines may be of at most 2 kB, behind a few words such as `mora: `. */
export function wrongWords(text: string, { most = 2048 }: { most?: number } = {}): string[] {
  const lines = text.split('\n')
  const steering = text.match(/(?![\t\n])\p{Cc}|[\u202a-\u202e\u2066-\u2069\u2028\u2029]/u)
  return [
    ...lines.filter((line) => Buffer.byteLength(line) > most).map((line) => `too long: ${line.slice(0, 100)}`),
    ...(steering
      ? [`a control character: ${JSON.stringify(text.slice(Math.max(0, steering.index! - 20)).slice(0, 60))}`]
      : []),
    ...(!/\p{Cs}/u.test(text) ? [] : ['half a character']),
    ...(FOREIGN.exec(text)?.slice(0, 1) ?? []),
  ]
}
