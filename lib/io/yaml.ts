/** YAML of options, cards and runs, which may come from others. */
import { Composer, type Document, isScalar, Lexer, Parser, visit } from 'yaml'
import { reasonOf } from '../common/foreign-errors.js'
import { lineAndColumn } from './json-scan.js'

/** Characters: some tenths of a second. */
const MOST = 2 ** 17
/** The package takes values apart by recursion. */
const MOST_DEPTH = 100
/** The package looks for each in the whole text, and an alias in an alias in an alias makes any size out of a few lines. */
const MOST_ALIASES = 100

/**
 * What a text says, of which JSON could be made.
 * @throws Error that says in one line what is wrong with it
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
  // The package would compare every key of a mapping with every other.
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

/** Refuses keys that are given twice, and more aliases than can be looked for. */
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
