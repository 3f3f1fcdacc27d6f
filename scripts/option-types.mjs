/**
 * Spells out the types of options in dist/options/*.d.ts and dist/objectives/*.d.ts: a property for each option with its schema's description, expected
 * value and default. Editors show them, and the reference is made from them. `npm run build lib` runs it after the compiler.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import typescript from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const folders = ['options', 'objectives'].map((name) => join(root, 'dist', name))
const load = (name) => import(join(root, 'dist', name))
const [{ optionDefault, optionFacts }, { camelCase }] = await Promise.all([
  load('schema/option-facts.js'),
  load('common/option-names.js'),
])

const OF_A_SCHEMA = /^LibraryInput<typeof (\w+)>$/

const paths = folders.flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.d.ts'))
    .map((name) => join(folder, name)),
)
const { NodeNext } = typescript.ModuleKind
const program = typescript.createProgram(paths, { module: NodeNext, strict: true, skipLibCheck: true, types: ['node'] })
const checker = program.getTypeChecker()
const { NoTruncation, UseSingleQuotesForStringLiteralType } = typescript.TypeFormatFlags

for (const path of paths) {
  const source = program.getSourceFile(path)
  if (!source) throw new Error(`Expected declarations in ${path}.`)
  const aliases = source.statements.filter((node) => typescript.isTypeAliasDeclaration(node))
  let text = readFileSync(path, 'utf8')
  // From the last to the first, so that earlier positions stay valid.
  for (const alias of aliases.reverse()) {
    const schema = OF_A_SCHEMA.exec(alias.type.getText())?.[1]
    if (schema === undefined) continue
    const { shape } = (await import(path.replace(/\.d\.ts$/, '.js')))[schema]
    const written = `export interface ${alias.name.text} {\n${properties(alias, shape).join('\n')}\n}`
    text = text.slice(0, alias.getStart()) + written + text.slice(alias.end)
  }
  writeFileSync(path, text)
}

/** The options in the order of their schema. */
function properties(alias, shape) {
  const type = checker.getTypeAtLocation(alias.name)
  return Object.entries(shape).flatMap(([name, schema]) => {
    const property = type.getProperty(name)
    if (!property) return []
    const optional = property.flags & typescript.SymbolFlags.Optional ? '?' : ''
    const value = checker.typeToString(
      checker.getTypeOfSymbolAtLocation(property, alias),
      alias,
      NoTruncation | UseSingleQuotesForStringLiteralType,
    )
    return [comment(schema), `  ${name}${optional}: ${value}`]
  })
}

function comment(schema) {
  const facts = optionFacts(schema)
  const { kind, description, expects, defaultText } = { ...facts, ...facts.library }
  const standard = optionDefault(schema)
  const paragraphs = [asSentence(description)]
  // The type alone describes flags and words.
  if (kind !== 'flag' && kind !== 'choice') paragraphs.push(asSentence(expects))
  if (defaultText !== undefined) paragraphs.push(`Default: ${inTheLibrary(defaultText)}.`)
  else if (standard !== undefined)
    paragraphs.push(`@default ${typeof standard === 'string' ? `'${standard}'` : standard}`)
  const lines = paragraphs.join('\n\n').replaceAll('*/', '*\\/').split('\n')
  return ['  /**', ...lines.map((line) => `   * ${line}`.trimEnd()), '   */'].join('\n')
}

/** Keeps the case of a text that begins with a value, as `auto: …` or `auto, cpu …`. */
function asSentence(text) {
  const first = /^[\w-]+[:,]/.test(text) ? text[0] : text[0].toUpperCase()
  return `${first}${inTheLibrary(text.slice(1))}.`
}

/** Options by their names in the library. */
function inTheLibrary(text) {
  return text.replace(/--(no-)?([a-z][a-z0-9-]*)/g, (_, no, flag) => `\`${camelCase(flag)}${no ? ': false' : ''}\``)
}
