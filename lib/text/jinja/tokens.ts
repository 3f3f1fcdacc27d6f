/** A template's tokens, with Jinja's `trim_blocks` and `lstrip_blocks` on, as transformers sets them. */
import { strip } from '../python/methods.js'

interface Token {
  kind: 'text' | 'name' | 'string' | 'integer' | 'float' | 'symbol' | 'end'
  /** The source text. Delimiters of tags are symbols without their `-` or `+`. */
  value: string
  /** Offset in the source. */
  at: number
}

/** Returns the line of an offset, counted from 1. */
function lineOf(source: string, at: number): number {
  return source.slice(0, at).split('\n').length
}

function syntaxError(source: string, at: number, problem: string): Error {
  return new Error(`line ${lineOf(source, at)}: ${problem}`)
}

const OPENING = /\{%([-+]?)\s*raw\s*(?:-%\}\s*|%\})|\{([%{#])([-+]?)/g
const RAW_END = /\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)/g
const COMMENT_END = /\+#\}|-#\}\s*|#\}\n?/g
const BLOCK_END = /\+%\}|-%\}\s*|%\}\n?/y
const VARIABLE_END = /-\}\}\s*|\}\}/y

const DIGITS = '\\d(?:_?\\d)*'
const KINDS = ['float', 'integer', 'name', 'string', 'symbol'] as const
const TOKEN = new RegExp(
  [
    `((?<!\\.)${DIGITS}(?:(?:\\.${DIGITS})?[eE][-+]?${DIGITS}|\\.${DIGITS}))`,
    `(0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\\da-fA-F])+|${DIGITS})`,
    '([\\p{L}_][\\p{L}\\p{M}\\p{N}_]*)',
    `('[^'\\\\]*(?:\\\\.[^'\\\\]*)*'|"[^"\\\\]*(?:\\\\.[^"\\\\]*)*")`,
    '(\\*\\*|//|[=!<>]=|[-+*/%~<>=.:|,()[\\]{}])',
  ].join('|'),
  'yus',
)
const SPACE = /\s*/y

/** Returns the match at an offset if the pattern is sticky, else the first from there on. */
function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at
  return pattern.exec(text)
}

/** @param source a template whose lines end with `\n` */
function tokenize(source: string): Token[] {
  const tokens: Token[] = []
  let at = 0

  /** Adds the text before a tag. The tag's sign says which of its whitespace goes. */
  const addText = (text: string, sign: string | undefined, isBlock: boolean): void => {
    const line = text.lastIndexOf('\n') + 1
    const startsLine = line > 0 || at === 0 || source[at - 1] === '\n'
    let kept = text
    if (sign === '-') kept = strip(text, undefined, 'end')
    else if (sign === '' && isBlock && startsLine && text.slice(line).trim() === '') kept = text.slice(0, line)
    if (kept !== '') tokens.push({ kind: 'text', value: kept, at })
  }

  const addTag = (start: number, isBlock: boolean): void => {
    const [open, close, end] = isBlock ? ['{%', '%}', BLOCK_END] : (['{{', '}}', VARIABLE_END] as const)
    tokens.push({ kind: 'symbol', value: open, at: start })
    // Within brackets `}}` closes mappings, not the tag.
    for (let depth = 0; ; ) {
      at += match(SPACE, source, at)![0].length
      const ending = depth === 0 ? match(end, source, at) : null
      if (ending) {
        tokens.push({ kind: 'symbol', value: close, at })
        at += ending[0].length
        return
      }
      if (at === source.length) return
      const found = match(TOKEN, source, at)
      if (!found) throw syntaxError(source, at, unreadable(source[at]!))
      const kind = KINDS[found.findIndex((group, i) => i > 0 && group !== undefined) - 1]!
      tokens.push({ kind, value: found[0], at })
      if ('([{'.includes(found[0])) depth++
      if (')]}'.includes(found[0])) depth = Math.max(0, depth - 1)
      at += found[0].length
    }
  }

  for (;;) {
    const opening = match(OPENING, source, at)
    if (!opening) break
    const [whole, rawSign, kind, sign] = opening
    const start = opening.index
    addText(source.slice(at, start), rawSign ?? sign, kind !== '{')
    at = start + whole.length
    if (kind === '{' || kind === '%') {
      addTag(start, kind === '%')
      continue
    }
    // Comments are skipped, and what stands within raw tags is text.
    const [pattern, name] = kind === '#' ? [COMMENT_END, '#}'] : [RAW_END, '{% endraw %}']
    const end = match(pattern, source, at)
    if (!end) throw syntaxError(source, start, `expected ${name} but the template ends`)
    if (kind !== '#') addText(source.slice(at, end.index), end[1], true)
    at = end.index + end[0].length
  }
  addText(source.slice(at), undefined, false)
  tokens.push({ kind: 'end', value: '', at: source.length })
  return tokens
}

function unreadable(character: string): string {
  return character === "'" || character === '"'
    ? `expected ${character} at the end of a string but the template ends`
    : `unexpected character ${JSON.stringify(character)}`
}

/** The tokens of a template, taken one after the other. */
export class Tokens {
  readonly #tokens: readonly Token[]
  #at = 0
  readonly #source: string

  /** @param source a template whose lines end with `\n` */
  constructor(source: string) {
    this.#source = source
    this.#tokens = tokenize(source)
  }

  get next(): Token {
    return this.#tokens[this.#at]!
  }

  /** Tells whether the next token, or the one `ahead` of it, is this symbol or word. */
  is(value: string, ahead = 0): boolean {
    const token = this.#tokens[this.#at + ahead]
    return token?.value === value && (token.kind === 'symbol' || token.kind === 'name')
  }

  /** Tells whether the next tokens are a name and this symbol. */
  isFollowedBy(symbol: string): boolean {
    return this.next.kind === 'name' && this.is(symbol, 1)
  }

  /** Takes the next tokens if they are these symbols or words, and tells whether they were. */
  skip(...values: string[]): boolean {
    const found = values.every((value, i) => this.is(value, i))
    if (found) this.#at += values.length
    return found
  }

  take(): string {
    return this.#tokens[this.#at++]!.value
  }

  /** @throws Error if another token is next */
  expect(value: string, what = value): void {
    if (!this.skip(value)) throw this.expected(what)
  }

  name(): string {
    if (this.next.kind !== 'name') throw this.expected('a name')
    return this.take()
  }

  /** Reads items with commas between them, and perhaps one after the last, up to `close`. */
  list<Item>(close: string, item: () => Item): Item[] {
    const items: Item[] = []
    while (!this.skip(close)) {
      if (items.length > 0) this.expect(',', `, or ${close}`)
      if (items.length > 0 && this.skip(close)) break
      items.push(item())
    }
    return items
  }

  /** Returns the source from an offset up to the next token. */
  since(at: number): string {
    return this.#source.slice(at, this.next.at).trim()
  }

  lineOf(at: number): number {
    return lineOf(this.#source, at)
  }

  /** Makes the error for a next token that is not what was expected. */
  expected(what: string): Error {
    const { kind, value, at } = this.next
    const found = kind === 'end' ? 'the template ends' : `found ${kind === 'text' ? 'text' : value}`
    return syntaxError(this.#source, at, `expected ${what} but ${found}`)
  }
}
