/** What schemas allow: documents of a list, and random texts that ajv and zod check. */

import Ajv2020 from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { randomStream } from '../../../lib/common/random.js'
import { openConstraint } from '../../../lib/generate/constraints/constraint.js'
import { callingOf } from '../../../lib/serve/chat-fields.js'
import { loadTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'
import { goldenPath } from '../../golden/files.js'
import { allows, bytesOf, written } from './written.js'

const seed = Number(process.env.MORA_TEST_SEED ?? 1)
let tokenizer: Tokenizer
let tokens: { bytes: Uint8Array[]; eosId: number }

beforeAll(async () => {
  tokenizer = (await loadTokenizer(goldenPath('tokenizers/small-bpe')))!
  tokens = { bytes: bytesOf(tokenizer), eosId: tokenizer.eosId! }
})

const open = (schema: unknown) => openConstraint({ schema }, { tokenizer, eosIds: [tokens.eosId] })

async function randomTexts(schema: unknown, count: number): Promise<string[]> {
  const constraint = await open(schema)
  const random = randomStream(seed, 'test', 'schemas')
  const texts: string[] = []
  for (let i = 0; i < count; i++) {
    constraint.reset()
    const { text, isComplete } = await written(constraint, tokens.bytes, tokens.eosId, random, 10)
    expect(isComplete, text).toBe(true)
    texts.push(text)
  }
  constraint.dispose()
  return texts
}

const node = (value: object, next: unknown = { $ref: '#' }) => ({
  type: 'object',
  properties: { value, next: { anyOf: [next, { type: 'null' }] } },
  required: ['value', 'next'],
  additionalProperties: false,
})
const kind = (name: string, others: object) => ({
  type: 'object',
  properties: { kind: { const: name }, ...others },
  required: ['kind', ...Object.keys(others)],
})
const point = { type: 'object', properties: { x: { type: 'integer' } }, required: ['x'] }

/** Schemas with documents that are allowed, and others that are not. */
const CASES: readonly (readonly [schema: object, valid: readonly unknown[], invalid: readonly unknown[]])[] = [
  [{ type: 'number', multipleOf: 0.01, minimum: 0 }, [0, 9.99, 12, 0.5, 1234.05], [0.001, -0.01, 1e21]],
  [{ type: 'number', multipleOf: 0.125 }, [0, 0.125, -2.5, 7.75], [0.1, 0.3125]],
  [{ type: 'number', multipleOf: 2.5 }, [0, 2.5, -5, 7.5], [1, 2.25]],
  [{ type: 'integer', multipleOf: 7, minimum: 10, exclusiveMaximum: 28 }, [14, 21], [7, 10, 20, 28]],
  [{ type: 'integer', multipleOf: 3000 }, [0, 3000, -60000], [300, 1000, 30500]],
  [{ type: 'integer', allOf: [{ multipleOf: 4 }, { multipleOf: 6 }] }, [12, 24, 0], [4, 6, 8]],
  [{ type: 'number', exclusiveMinimum: 0.1, maximum: 3.75 }, [0.11, 1, 3.75, 0.100001], [0.1, 3.76, 4, 0, -1]],
  [{ type: 'number', minimum: -1.25, exclusiveMaximum: -0.5 }, [-1.25, -1, -0.51], [-1.26, -0.5, 0]],
  [{ type: 'number', minimum: 0 }, [0.12345, 100000.99], [-1]],
  [{ type: 'integer', minimum: 0.5, maximum: 2.5 }, [1, 2], [0, 3]],
  [{ type: 'integer', format: 'int32', minimum: 2147483640 }, [2147483647], [2147483648]],
  [
    { type: 'string', format: 'uri' },
    ['https://example.com/a?b=c#d', 'mailto:a@b.de'],
    ['example.com', 'https://', 'a b'],
  ],
  [{ type: 'string', format: 'hostname' }, ['localhost', 'a.example.com'], ['-a', 'a..b', 'a_b']],
  [{ type: 'string', format: 'ipv6' }, ['::1', '2001:db8::ff00:42:8329'], ['1::2::3', '12345::']],
  [{ type: 'string', format: 'duration' }, ['P1Y2M', 'PT5S', 'P3W', 'P1DT12H'], ['P', 'PT', 'P1W2D', '1Y']],
  [{ type: 'string', format: 'email', maxLength: 12 }, ['a@example.de'], ['ab@example.de', 'a']],
  [{ type: 'string', format: 'date', pattern: '^2024' }, ['2024-02-29'], ['2023-01-01', '2024-02-30']],
  [{ type: 'string', pattern: '^[a-z]+$', maxLength: 250 }, ['a'.repeat(250)], ['a'.repeat(251), '']],
  [{ type: 'string', pattern: '^[a-z]+$', minLength: 2, maxLength: 3 }, ['ab', 'abc'], ['a', 'abcd', 'AB']],
  [{ allOf: [{ pattern: '^a' }, { pattern: 'b$' }, { pattern: 'c' }] }, ['acb', 'a"cb'], ['ab', 'cb', 'ac']],
  [{ type: 'string', pattern: '^(?=.*\\d)(?!0)[a-z\\d]{2,4}$' }, ['a1', '10b'], ['ab', '01']],
  [{ type: 'string', pattern: '(^a|b$)' }, ['ax', 'xb', 'ab'], ['xa']],
  [
    { type: 'string', minLength: 130, maxLength: 600 },
    ['a'.repeat(130), 'é'.repeat(600)],
    ['a'.repeat(129), 'a'.repeat(601)],
  ],
  [
    { allOf: [point, { properties: { y: { type: 'null' } }, required: ['y'] }] },
    [{ x: 1, y: null }],
    [{ x: 1 }, { y: null }],
  ],
  [
    { ...point, allOf: [{ properties: { x: { minimum: 5 } } }, { properties: { x: { maximum: 6 } } }] },
    [{ x: 5 }, { x: 6 }],
    [{ x: 4 }, { x: 7 }],
  ],
  [{ allOf: [{ ...point, additionalProperties: false }, { properties: { y: {} } }] }, [{ x: 1 }], [{ x: 1, y: 1 }]],
  [
    {
      type: 'object',
      properties: { a: { type: 'null' }, b: { type: 'null' } },
      anyOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    [{ a: null }, { b: null }, { a: null, b: null }],
    [{}],
  ],
  [
    { oneOf: [kind('a', { n: { type: 'integer' } }), kind('b', {})] },
    [{ kind: 'a', n: 1 }, { kind: 'b' }],
    [{ kind: 'b', n: 1 }],
  ],
  [
    { oneOf: [kind('a', {}), { properties: { size: { type: 'null' } }, required: ['size'], type: 'object' }] },
    [{ kind: 'a' }, { size: null }],
    [],
  ],
  [
    {
      enum: [1, 2.5, 'x', null, { a: 1 }],
      anyOf: [
        { type: 'number', minimum: 2 },
        { required: ['a'], type: 'object' },
      ],
    },
    [2.5, { a: 1 }],
    [1, 'x', null],
  ],
  [
    { ...point, properties: { ...point.properties, no: { not: {} } }, additionalProperties: { type: 'boolean' } },
    [{ x: 1 }, { x: 1, any: true, z: false }],
    [{ x: 1, any: 1 }, { x: 1, no: true }, { any: true }],
  ],
  [
    {
      type: 'object',
      patternProperties: { '^n': { type: 'integer' }, b$: { maximum: 5 } },
      additionalProperties: false,
    },
    [{ n: 7, nb: 5, b: -1 }, {}],
    [{ nb: 6 }, { c: 1 }],
  ],
  [
    {
      type: 'object',
      properties: { a: { type: 'null' }, b: { type: 'null' }, c: { type: 'null' } },
      minProperties: 2,
      maxProperties: 2,
    },
    [
      { a: null, c: null },
      { b: null, c: null },
    ],
    [{ a: null }, { a: null, b: null, c: null }],
  ],
  [
    {
      type: 'object',
      properties: { ab: { type: 'null' }, b: {} },
      propertyNames: { pattern: '^a' },
      additionalProperties: { type: 'integer' },
    },
    [{ ab: null, a: 1 }],
    [{ b: 1 }, { ab: 1 }],
  ],
  [
    { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], minItems: 1 },
    [['a'], ['a', 1]],
    [[], [1]],
  ],
  [node({ type: 'integer' }), [{ value: 1, next: { value: 2, next: null } }], [{ value: 1, next: {} }]],
  [
    { $ref: '#/$defs/list', $defs: { list: { type: 'array', items: { $ref: '#/$defs/list' }, maxItems: 2 } } },
    [[], [[], [[]]]],
    [[[], [], []]],
  ],
  [
    {
      allOf: [{ $ref: '#/$defs/n' }, { properties: { value: { minimum: 5 } } }],
      $defs: { n: node({ type: 'integer' }, { $ref: '#/$defs/n' }) },
    },
    [{ value: 5, next: { value: 1, next: null } }],
    [{ value: 4, next: null }],
  ],
  [
    {
      $ref: '#/$defs/a',
      $defs: {
        a: { type: 'object', properties: { b: { $ref: '#/$defs/b' }, c: { type: 'null' } }, required: ['c'] },
        b: { type: 'object', properties: { a: { $ref: '#/$defs/a' }, d: false }, required: ['d'] },
      },
    },
    [{ c: null }],
    [{ b: {}, c: null }],
  ],
  [{ type: 'array', items: { $ref: '#thing' }, $defs: { thing: { $anchor: 'thing', type: 'null' } } }, [[null]], [[1]]],
]

describe('a schema', () => {
  it.each(CASES)('%j allows what fits it, and nothing else', async (schema, valid, invalid) => {
    const ajv = addFormats.default(new Ajv2020.default({ strict: false, multipleOfPrecision: 6, logger: false }))
    const isValid = ajv.compile(schema)
    const constraint = await open(schema)
    for (const document of valid) {
      expect(isValid(document), JSON.stringify(document)).toBe(true)
      expect(await allows(constraint, JSON.stringify(document), tokens), JSON.stringify(document)).toBe(true)
    }
    for (const document of invalid)
      expect(await allows(constraint, JSON.stringify(document), tokens), JSON.stringify(document)).toBe(false)
    constraint.dispose()
    for (const text of await randomTexts(schema, 2)) expect([text, isValid(JSON.parse(text))]).toEqual([text, true])
  })

  it.each<[object, readonly unknown[], readonly unknown[]]>([
    [{ type: 'string', nullable: true }, ['a', null], [1]],
    [{ nullable: true, allOf: [point] }, [{ x: 1 }, null], ['a']],
    [{ type: 'number', minimum: 0.5, exclusiveMinimum: true }, [0.51], [0.5]],
    [{ items: [{ type: 'null' }], additionalItems: { type: 'integer' }, minItems: 1 }, [[null], [null, 1]], [[1], []]],
  ])('%j of an older form means what it did', async (schema, valid, invalid) => {
    const constraint = await open(schema)
    for (const one of valid) expect(await allows(constraint, JSON.stringify(one), tokens)).toBe(true)
    for (const one of invalid) expect(await allows(constraint, JSON.stringify(one), tokens)).toBe(false)
    constraint.dispose()
  })

  const tree: z.ZodType = z.object({
    value: z.number().multipleOf(0.25),
    get children() {
      return z.array(tree).max(2)
    },
  })
  it.each<[string, z.ZodType]>([
    ['a tree', tree],
    ['a catchall', z.object({ a: z.string() }).catchall(z.boolean())],
    ['a loose record', z.intersection(z.object({ a: z.null() }), z.looseRecord(z.string().regex(/^k/), z.int32()))],
    ['intersections', z.intersection(z.object({ a: z.string().min(2) }), z.object({ b: z.url().optional() }))],
    ['an exclusive union', z.xor([z.object({ a: z.null() }), z.object({ b: z.null() })])],
    ['a tuple with a rest', z.tuple([z.literal(['x', 1, null])], z.number().gt(0.1).lt(0.2))],
    ['several patterns', z.string().startsWith('ab').endsWith('yz').includes('-').max(20)],
    ['an emoji', z.emoji()],
    ['words of formats', z.tuple([z.iso.duration(), z.hostname(), z.cidrv6(), z.jwt(), z.iso.time(), z.uuidv7()])],
    ['a template', z.templateLiteral(['v', z.number(), z.enum(['a', 'b'])])],
  ])('of zod gives only texts that zod takes: %s', async (_, schema) => {
    for (const text of await randomTexts(schema, 3))
      expect([text, schema.safeParse(JSON.parse(text)).error]).toEqual([text, undefined])
  })

  it('stands beside tools, each with references of its own', async () => {
    const parameters = node({ $ref: '#/$defs/v' })
    const { forced } = callingOf({
      tools: [
        { type: 'function', function: { name: 'go', parameters: { ...parameters, $defs: { v: { type: 'null' } } } } },
      ],
      tool_choice: 'auto',
      parallel_tool_calls: true,
      response_format: {
        type: 'json_schema',
        json_schema: { schema: { ...parameters, $defs: { v: { type: 'integer' } } } },
      },
    })
    const constraint = await open(forced!.schema)
    const list = (value: unknown) => ({ value, next: { value, next: null } })
    const texts = [list(1), { name: 'go', arguments: list(null) }]
    for (const one of texts) expect(await allows(constraint, JSON.stringify(one), tokens)).toBe(true)
    for (const one of [list(null), { name: 'go', arguments: list(1) }])
      expect(await allows(constraint, JSON.stringify(one), tokens)).toBe(false)
    constraint.dispose()
  })

  const many = (count: number, make: (i: number) => object) => Array.from({ length: count }, (_, i) => make(i))
  it.each<[string, object, RegExp]>([
    [
      'products of patterns',
      { allOf: many(12, (i) => ({ pattern: `a.{${5 + i}}b.{${i}}c` })) },
      /the size of a regular expr/,
    ],
    [
      'products of alternatives',
      { allOf: many(20, (i) => ({ anyOf: [{ minimum: i }, { maximum: -i }] })) },
      /more than 4096 alternatives/,
    ],
    ['lengths', { pattern: 'a', maxLength: 1e9 }, /a length above 2000 beside a pattern or a format at #/],
    ['lookaheads', { pattern: '(?:(?=a)b|c)'.repeat(300) }, /so many anchors or lookaheads/],
    [
      'products of remainders',
      { type: 'integer', allOf: [{ multipleOf: 991 }, { multipleOf: 997 }] },
      /the multipleOf 991 and 997, whose remainders/,
    ],
  ])('is counted, not timed: %s', async (_, schema, message) => {
    await expect(open(schema)).rejects.toThrow(message)
  })
})
