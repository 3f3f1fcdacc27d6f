/**
 * Writes the package's entry for `require`, dist/index.cjs and its types, from dist/index.js and dist/index.d.ts. It loads the
 * one ES module, so whoever requires and whoever imports share classes and state. A CommonJS declaration may not re-export
 * an ES module's values, only name their types, so each value is declared by its type.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import typescript from 'typescript'

const dist = fileURLToPath(new URL('../dist', import.meta.url))
const library = `import('./index.js', { with: { 'resolution-mode': 'import' } })`

const declarations = join(dist, 'index.d.ts')
const program = typescript.createProgram([declarations], {
  module: typescript.ModuleKind.NodeNext,
  moduleResolution: typescript.ModuleResolutionKind.NodeNext,
  target: typescript.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  skipLibCheck: true,
})
const checker = program.getTypeChecker()
const { SymbolFlags } = typescript
const loaded = await import('../dist/index.js')
const values = checker
  .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(declarations)))
  .filter(({ name }) => name in loaded)

writeFileSync(join(dist, 'index.cjs'), `'use strict'\nmodule.exports = require('./index.js')\n`)
writeFileSync(
  join(dist, 'index.d.cts'),
  [
    `export type * from './index.js' with { 'resolution-mode': 'import' }`,
    `type Library = typeof ${library}`,
    ...values.flatMap(declarationOf),
    '',
  ].join('\n'),
)

/** A class is a type too, which the declaration of its value would hide. */
function declarationOf(symbol) {
  const { name } = symbol
  const target = symbol.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  const value = `export declare const ${name}: Library['${name}']`
  if (!(target.flags & SymbolFlags.Type)) return [value]
  const parameters = target.declarations.flatMap((node) => node.typeParameters ?? [])
  const list = (texts) => (texts.length > 0 ? `<${texts.join(', ')}>` : '')
  const declared = list(parameters.map((parameter) => parameter.getText()))
  const used = list(parameters.map((parameter) => parameter.name.text))
  return [value, `export type ${name}${declared} = ${library}.${name}${used}`]
}
