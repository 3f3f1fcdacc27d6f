/** docs/errors.md lists exactly the codes that the library can throw. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { root } from './blocks.js'

const lib = join(root, 'lib')

/**
 * Texts that are passed to a parameter called `code` anywhere in lib, of a constructor or a function. Values passed on under
 * that name (`error.code`, `code`) are found at their origin; any other expression is listed as `unknown`.
 */
function codesOfLibrary(): { codes: Set<string>; unknown: string[] } {
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, 'tsconfig.build.json'), ts.sys.readFile).config,
    ts.sys,
    root,
  )
  const names = (readdirSync(lib, { recursive: true }) as string[]).filter((name) => name.endsWith('.ts'))
  const program = ts.createProgram(
    names.map((name) => join(lib, name)),
    options,
  )
  const checker = program.getTypeChecker()
  const codes = new Set<string>()
  const unknown: string[] = []
  const visit = (node: ts.Node): void => {
    ts.forEachChild(node, visit)
    if (!ts.isCallExpression(node) && !ts.isNewExpression(node)) return
    const declaration = checker.getResolvedSignature(node)?.declaration
    if (!declaration?.getSourceFile().fileName.startsWith(lib)) return
    const at = declaration.parameters.findIndex(({ name }) => name.getText() === 'code')
    const given = at < 0 ? undefined : node.arguments?.[at]
    if (!given || /(^|\.)code$/.test(given.getText())) return
    const type = checker.getTypeAtLocation(given)
    for (const part of type.isUnion() ? type.types : [type]) {
      if (part.isStringLiteral()) codes.add(part.value)
      else unknown.push(`${given.getSourceFile().fileName}: ${given.getText()}`)
    }
  }
  for (const file of program.getSourceFiles()) if (file.fileName.startsWith(lib)) visit(file)
  return { codes, unknown }
}

/** Codes of the native core, named by its one exception and the bindings. */
function codesOfCore(): string[] {
  const folder = join(root, 'native')
  const names = (readdirSync(folder, { recursive: true }) as string[]).filter((name) => /\.(cpp|h|cu)$/.test(name))
  const named = /\b(?:Error\(\s*|toJavaScript\([^,;"]+,[^,;"]*)"([a-z-]+)"(?: : "([a-z-]+)")?/g
  return names.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(named)].flatMap(([, one, other]) => [one!, other ?? one!]),
  )
}

it('the index of errors is complete', () => {
  const { codes, unknown } = codesOfLibrary()
  expect(unknown).toEqual([])
  const thrown = [...new Set([...codes, ...codesOfCore()])].sort()
  expect(thrown.length).toBeGreaterThan(100)
  const page = readFileSync(join(root, 'docs/errors.md'), 'utf8')
  const rows = [...page.matchAll(/^\| ((?:`[a-z0-9-]+`(?:, )?)+) \|/gm)]
  const indexed = rows.flatMap(([, cell]) => cell!.replaceAll('`', '').split(', ')).sort()
  expect(indexed).toEqual(thrown)
})
