/**
 * Writes the package's entries for `require`: index.cjs with its types, from index.js and index.d.ts beside it, in dist and its folders of
 * further entries. Each loads the one ES module, so that require and import share classes and state. A
 * CommonJS declaration may not re-export an ES module's values, only name their types, so each value is declared by its type.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import typescript from 'typescript'

const dist = fileURLToPath(new URL('../dist', import.meta.url))
const library = `import('./index.js', { with: { 'resolution-mode': 'import' } })`
const folders = [dist, join(dist, 'adapters'), join(dist, 'ai')]

const declarations = folders.map((folder) => join(folder, 'index.d.ts'))
const program = typescript.createProgram(declarations, {
  module: typescript.ModuleKind.NodeNext,
  moduleResolution: typescript.ModuleResolutionKind.NodeNext,
  target: typescript.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  skipLibCheck: true,
})
const checker = program.getTypeChecker()
const { SymbolFlags } = typescript

for (const [i, folder] of folders.entries()) {
  const loaded = await import(join(folder, 'index.js'))
  const source = program.getSourceFile(declarations[i])
  const module = source && checker.getSymbolAtLocation(source)
  if (!module)
    throw new Error(`Expected a module's declarations in ${declarations[i]}; "tsc -p tsconfig.build.json" writes them.`)
  const values = checker.getExportsOfModule(module).filter(({ name }) => name in loaded)
  writeFileSync(join(folder, 'index.cjs'), `'use strict'\nmodule.exports = require('./index.js')\n`)
  writeFileSync(
    join(folder, 'index.d.cts'),
    [
      `export type * from './index.js' with { 'resolution-mode': 'import' }`,
      `type Library = typeof ${library}`,
      ...values.flatMap(declarationOf),
      '',
    ].join('\n'),
  )
}

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
