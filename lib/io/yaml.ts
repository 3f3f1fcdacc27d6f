/** Parses YAML of options, cards and runs, which may be untrusted. */
import { Composer, type Document, isScalar, Lexer, Parser, visit } from 'yaml'
import { reasonOf } from '../common/foreign-errors.js'
import { lineAndColumn } from './json-scan.js'

/** Most characters of a text: they take some tenths of a second. */
const MOST = 2 ** 17
/** Deepest nesting, since the yaml package is recursive. */
const MOST_DEPTH = 100
/** Most aliases: the yaml package searches the text for each, and nested aliases expand a few lines to any size. */
const MOST_ALIASES = 100

/**
 * Parses a text to values that JSON can hold.
 * @throws Error that describes the problem in one line
 */
export function parseYaml(text: string): unknown {
  if (text.length > MOST) throw new Error(`it has ${text.length} characters, and ${MOST} are read at most`)
  const document = documentOf(text)
  const [error] = document.errors
  if (error) throw wrongAt(error.pos[0], error.message, text)
  checkNodes(document, text)
  let content: unknown
  try {
    content = document.toJS({ maxAliasCount: MOST_ALIASES })
  } catch (cause) {
    throw new Error(firstLine(reasonOf(cause, 'it is damaged')), { cause })
  }
  try {
    JSON.stringify(content)
  } catch (cause) {
    throw new Error('an alias in it stands for what the alias is in', { cause })
  }
  return content
}

function documentOf(text: string): Document.Parsed {
  // The yaml package would compare every key of a mapping with every other.
  const composer = new Composer({ uniqueKeys: false })
  const [document, next] = composer.compose(tokensOf(text), true, text.length)
  if (next) throw wrongAt(next.range[0], 'there are several documents', text)
  return document!
}

function* tokensOf(text: string): Generator<ParserToken> {
  const parser = new Parser()
  for (const source of new Lexer().lex(text)) {
    yield* parser.next(source)
    if (parser.stack.length > MOST_DEPTH) throw new Error('it nests too deep')
  }
  yield* parser.end()
}

type ParserToken = Parser['stack'][number]

/** Refuses duplicate keys and too many aliases. */
function checkNodes(document: Document, text: string): void {
  let aliases = 0
  visit(document, {
    Alias() {
      if (++aliases > MOST_ALIASES) throw new Error(`it has more than ${MOST_ALIASES} aliases`)
    },
    Map(_, { items }) {
      const keys = new Set<unknown>()
      for (const { key } of items) {
        if (!isScalar(key)) continue
        if (keys.has(key.value)) throw wrongAt(key.range?.[0] ?? 0, 'keys must be unique', text)
        keys.add(key.value)
      }
    },
  })
}

function wrongAt(position: number, problem: string, text: string): Error {
  const { line, column } = lineAndColumn(text, position)
  return new Error(`${firstLine(problem)} at line ${line}, column ${column}`)
}

const firstLine = (text: string): string => text.split('\n', 1)[0]!.replace(/[.:]$/, '')
