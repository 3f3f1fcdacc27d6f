/**
 * lib/native/operations.ts has the operations of native/core/operations.def, with their parameters by name and kind, and the
 * functions that operations take.
 */
import { readFileSync } from 'node:fs'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { native, type Operations } from '../../lib/native/addon.js'

const path = new URL('../../lib/native/operations.ts', import.meta.url)
const source = ts.createSourceFile('operations.ts', readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)

interface Written {
  named: boolean
  parameters: { name: string; type: string; mayBeLeftOut: boolean }[]
}

function writtenOperations(): Map<string, Written> {
  const surface = source.statements.filter(ts.isInterfaceDeclaration).find(({ name }) => name.text === 'Operations')!
  return new Map(surface.members.filter(ts.isMethodSignature).map((method) => [method.name.getText(), written(method)]))
}

function written({ parameters }: ts.MethodSignature): Written {
  const [first] = parameters
  const fields = parameters.length === 1 && first?.type && ts.isTypeLiteralNode(first.type) ? first.type.members : null
  const all = fields?.filter(ts.isPropertySignature) ?? [...parameters]
  return {
    named: fields !== null,
    parameters: all.map(({ name, type, questionToken }) => {
      return { name: name.getText(), type: type!.getText(), mayBeLeftOut: questionToken !== undefined }
    }),
  }
}

/** What TypeScript calls a kind of parameter; structures have one name in both. */
const types: Record<string, string> = {
  In: 'T',
  Out: 'T',
  InOut: 'T',
  Blocks: 'T',
  Optional: 'Optional',
  Tensors: 'readonly T[]',
  Flag: 'boolean',
  Real: 'number',
  Factor: 'number',
  double: 'number',
  Coded: 'CodedMatrix',
}
const kindsWithDefault = ['Optional', 'Flag', 'Factor']

function expected(
  named: boolean,
  parameters: (typeof native.operations)[keyof Operations]['parameters'],
): Written['parameters'] {
  return parameters.map(({ kind, name }) => {
    return { name, type: types[kind] ?? kind, mayBeLeftOut: named && kindsWithDefault.includes(kind) }
  })
}

const operations = writtenOperations()

test('operations are those of the table', () => {
  expect([...operations.keys()].sort()).toEqual(Object.keys(native.operations).sort())
})

test.each(Object.entries(native.operations))('%s has the parameters of the table', (name, { named, parameters }) => {
  expect(operations.get(name)).toEqual({ named, parameters: expected(named, parameters) })
})

/** The members of a union of texts in lib/native/operations.ts. */
function writtenFunctions(union: string): string[] {
  const { type } = source.statements.filter(ts.isTypeAliasDeclaration).find(({ name }) => name.text === union)!
  return (type as ts.UnionTypeNode).types.map(
    (member) => ((member as ts.LiteralTypeNode).literal as ts.StringLiteral).text,
  )
}

test.each([
  ['Elementwise', () => native.elementwise('none' as never, {} as never, null, {} as never, false)],
  ['Activation', () => native.activation('none' as never, {} as never, null, {} as never)],
])('%s names the functions of the table', (union, callsUnknown) => {
  const names = writtenFunctions(union).join(', ')
  expect(callsUnknown).toThrow(new RegExp(`^Expected one of ${names} for an? .* but received none\\.$`))
})
