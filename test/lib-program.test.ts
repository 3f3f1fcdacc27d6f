/**
 * What the type checker knows of lib as a whole: everything that lib exports or the addon offers has a caller in lib, or is
 * public (callers in tests do not count), and docs/errors.md lists exactly the codes that the library can throw.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import ts from 'typescript'
import { beforeAll, expect, test } from 'vitest'

/** Exports that wait for their caller, with the reason. */
const awaited: Readonly<Record<string, string>> = {}

/** Members of the addon that lib does not call, with the reason. */
const calledElsewhere: Readonly<Record<string, string>> = {
  operations: 'test/native compares lib/native/operations.ts with it',
  mpiVersion: 'a process of its own calls it, by text (lib/ranks/installed.ts)',
  glooVersion: 'a process of its own calls it, by text (lib/ranks/installed.ts)',
}

const root = resolve(import.meta.dirname, '..')
const lib = resolve(root, 'lib')
let checker: ts.TypeChecker
let files: readonly ts.SourceFile[]
/** Declarations that an expression or a type in lib refers to. */
const used = new Set<ts.Symbol>()
/**
 * Texts that are passed to a parameter called `code` anywhere in lib, of a constructor or a function. Values passed on under
 * that name (`error.code`, `code`) are found at their origin; any other expression is listed in `unknownCodes`.
 */
const codes = new Set<string>()
const unknownCodes: string[] = []

const original = (symbol: ts.Symbol): ts.Symbol =>
  symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
const fileOf = (path: string): ts.SourceFile => files.find(({ fileName }) => fileName === resolve(lib, path))!
const exportsOf = (file: ts.SourceFile): ts.Symbol[] => {
  const module = checker.getSymbolAtLocation(file)
  return module ? checker.getExportsOfModule(module) : []
}

function membersOfAddon(): ts.Symbol[] {
  const native = exportsOf(fileOf('native/addon.ts')).find(({ name }) => name === 'Native')!
  return checker.getDeclaredTypeOfSymbol(native).getProperties()
}

/** The symbol that an identifier refers to; undefined where it declares, imports or exports a name. */
function reference(name: ts.Identifier): ts.Symbol | undefined {
  const { parent } = name
  if (ts.isImportSpecifier(parent) || ts.isExportSpecifier(parent)) return undefined
  if (ts.isShorthandPropertyAssignment(parent)) return checker.getShorthandAssignmentValueSymbol(parent)
  // `const { name } = await import('…')` refers to a property of the module.
  if (ts.isBindingElement(parent) && ts.isObjectBindingPattern(parent.parent) && parent.initializer !== name) {
    return checker.getTypeAtLocation(parent.parent).getProperty((parent.propertyName ?? name).getText())
  }
  const isDeclared = 'name' in parent && parent.name === name && !ts.isPropertyAccessExpression(parent)
  return isDeclared ? undefined : checker.getSymbolAtLocation(name)
}

/** Names that functions, methods and classes with a parameter called `code` are called by. */
const taking = new Set<string>()

function addTaking(node: ts.SignatureDeclaration): void {
  if (!node.parameters.some(({ name }) => name.getText() === 'code')) return
  const named = ts.isConstructorDeclaration(node) || ts.isArrowFunction(node) ? node.parent : node
  const name = (named as { name?: ts.Node }).name?.getText()
  if (name !== undefined) taking.add(name)
}

/** Resolving the signature of every call would take as long as type checking lib. */
function mayTakeCode({ expression }: ts.CallExpression | ts.NewExpression): boolean {
  const callee = ts.isPropertyAccessExpression(expression) ? expression.name : expression
  return callee.kind === ts.SyntaxKind.SuperKeyword || taking.has(callee.getText())
}

function addCodes(call: ts.CallExpression | ts.NewExpression): void {
  const declaration = checker.getResolvedSignature(call)?.declaration
  if (!declaration?.getSourceFile().fileName.startsWith(lib)) return
  const at = declaration.parameters.findIndex(({ name }) => name.getText() === 'code')
  const given = at < 0 ? undefined : call.arguments?.[at]
  if (!given || /(^|\.)code$/.test(given.getText())) return
  const type = checker.getTypeAtLocation(given)
  for (const part of type.isUnion() ? type.types : [type]) {
    if (part.isStringLiteral()) codes.add(part.value)
    else unknownCodes.push(`${given.getSourceFile().fileName}: ${given.getText()}`)
  }
}

/** Codes of the native core, named by its one exception and the bindings. */
function codesOfCore(): string[] {
  const folder = join(root, 'native')
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(cpp|h|cu)$/.test(name))
  const named = /\b(?:Error\(\s*|toJavaScript\([^,;"]+,[^,;"]*)"([a-z-]+)"(?: : "([a-z-]+)")?/g
  return names.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(named)].flatMap(([, one, other]) => [one!, other ?? one!]),
  )
}

beforeAll(() => {
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} }
  const { fileNames, options } = ts.getParsedCommandLineOfConfigFile(resolve(root, 'tsconfig.build.json'), {}, host)!
  const program = ts.createProgram(fileNames, options)
  checker = program.getTypeChecker()
  files = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(`${lib}/`))
  const exported = files.flatMap(exportsOf)
  const names = new Set([...exported, ...membersOfAddon()].map(({ name }) => name))
  const classes: ts.ClassLikeDeclaration[] = []
  const prepare = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) addTaking(node)
    if (ts.isClassLike(node)) classes.push(node)
    // Others are local: resolving these takes most of the time.
    const isAlias = ts.isImportSpecifier(node) || ts.isExportSpecifier(node) || ts.isImportClause(node)
    if (isAlias && node.name) names.add(node.name.text)
    ts.forEachChild(node, prepare)
  }
  for (const file of files) prepare(file)
  // Files are in the order of their imports: a base stands before its class.
  for (const { name, heritageClauses } of classes) {
    const bases = heritageClauses?.flatMap(({ types }) => types.map(({ expression }) => expression.getText())) ?? []
    if (name && bases.some((base) => taking.has(base))) taking.add(name.text)
  }
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && names.has(node.text)) {
      const symbol = reference(node)
      if (symbol) used.add(original(symbol))
    }
    if ((ts.isCallExpression(node) || ts.isNewExpression(node)) && mayTakeCode(node)) addCodes(node)
    ts.forEachChild(node, visit)
  }
  for (const file of files) visit(file)
})

test('every export of lib is used in lib, or public', () => {
  const isPublic = new Set(
    ['index.ts', 'adapters/index.ts', 'ai/index.ts'].flatMap((path) => exportsOf(fileOf(path)).map(original)),
  )
  const exported = files.flatMap((file) =>
    exportsOf(file)
      .filter((symbol) => original(symbol) === symbol)
      .map((symbol) => ({ name: `${relative(lib, file.fileName)}: ${symbol.name}`, symbol })),
  )
  expect(exported.length).toBeGreaterThan(1000)
  const unused = exported.filter(({ symbol }) => !used.has(symbol) && !isPublic.has(symbol))
  expect(unused.map(({ name }) => name)).toEqual(Object.keys(awaited))
})

test('every operation and function of the addon is called in lib', () => {
  const offered = membersOfAddon()
  // Includes the operations: test/native/operations-table.test.ts compares them with native/core/operations.def.
  expect(offered.length).toBeGreaterThan(60)
  const uncalled = offered.filter((symbol) => !used.has(symbol)).map(({ name }) => name)
  expect(uncalled.sort()).toEqual(Object.keys(calledElsewhere).sort())
})

test('the index of errors is complete', () => {
  expect(unknownCodes).toEqual([])
  const thrown = [...new Set([...codes, ...codesOfCore()])].sort()
  expect(thrown.length).toBeGreaterThan(100)
  const page = readFileSync(join(root, 'docs', 'errors.md'), 'utf8')
  const rows = [...page.matchAll(/^\| ((?:`[a-z0-9-]+`(?:, )?)+) \|/gm)]
  const indexed = rows.flatMap(([, cell]) => cell!.replaceAll('`', '').split(', ')).sort()
  expect(indexed).toEqual(thrown)
})
