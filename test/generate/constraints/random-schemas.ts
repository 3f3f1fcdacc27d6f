/** Random JSON schemas of everything that constraints enforce. */
import { chance, choose, pick, type Random } from '../../fuzz/random.js'

const PATTERNS = [
  '^[a-z]{2,5}$',
  '^(?:ab|cd)+$',
  '^\\d{3}-\\d{2}$',
  '[^a]',
  '^x$|^yy',
  '^[^a-y]{1,4}$',
  '^"\\\\"?$',
  '^.?\\s\\w*$',
  '^\\u00e9[\\u4e00-\\u4e10]$',
]
const FORMATS = ['date', 'time', 'date-time', 'email', 'uuid', 'ipv4', 'ipv6', 'duration', 'hostname', 'uri']
const KEYS = ['a', 'b', 'name', 'two words', 'é"', 'x/y', '']

/** A schema, whose definitions are in `$defs`. */
export function randomSchema(random: Random): Record<string, unknown> {
  const whole = schema(random, 3)
  return { ...whole, $defs: { tree: TREE, leaf: schema(random, 0) } }
}

const TREE = {
  type: 'object',
  properties: { value: { type: 'integer' }, left: { $ref: '#/$defs/tree' } },
  required: ['value'],
}

function schema(random: Random, depth: number): Record<string, unknown> {
  const inner = () => schema(random, depth - 1)
  const several = (most: number) => Array.from({ length: 1 + random.integer(most) }, inner)
  const bounds = (least: string, most: string, from: number, width: number) => {
    const low = from + random.integer(width)
    return {
      ...(chance(random, 0.6) && { [least]: low }),
      ...(chance(random, 0.6) && { [most]: low + 2 + random.integer(width) }),
    }
  }
  const number = (type: string) => {
    const size = 10 ** random.integer(7)
    const names = pick(random, [
      ['minimum', 'maximum'],
      ['exclusiveMinimum', 'exclusiveMaximum'],
      ['minimum', 'exclusiveMaximum'],
    ])
    return { type, ...bounds(names[0]!, names[1]!, -size, 2 * size) }
  }
  const leaves: [number, () => Record<string, unknown>][] = [
    [2, () => ({ type: 'string', ...bounds('minLength', 'maxLength', 0, 6) })],
    [2, () => ({ type: 'string', pattern: pick(random, PATTERNS) })],
    [1, () => ({ type: 'string', format: pick(random, FORMATS) })],
    [1, () => ({ type: 'string', pattern: '^[a-z]+\\d?', ...bounds('minLength', 'maxLength', 0, 6) })],
    [2, () => number('integer')],
    [2, () => number('number')],
    [1, () => ({ type: 'number', multipleOf: pick(random, [0.01, 0.5, 3, 250]), minimum: -10.5, maximum: 1000.25 })],
    [1, () => ({ type: pick(random, ['boolean', 'null', 'string', 'number', 'array', 'object']) })],
    [1, () => ({ enum: [1, 'zwei\n"', null, [3.5], { four: true }].slice(random.integer(4)) })],
    [1, () => ({ const: pick<unknown>(random, ['é', -1e-7, false, { a: [] }]) })],
    [1, () => ({ type: ['integer', 'string', 'null'].slice(random.integer(3)), minimum: 3, maxLength: 4 })],
    [1, () => ({ $ref: '#/$defs/tree' })],
    [depth > 0 ? 1 : 0, () => ({ $ref: '#/$defs/leaf' })],
    [0.3, () => ({})],
  ]
  if (depth === 0) return choose(random, leaves)
  return choose(random, [
    ...leaves.map(([weight, make]) => [weight / 3, make] as const),
    [4, () => object(random, inner)],
    [
      1,
      () => ({
        type: 'object',
        additionalProperties: inner(),
        ...(chance(random, 0.5) && { minProperties: 1, maxProperties: 3 }),
      }),
    ],
    [1, () => ({ type: 'object', propertyNames: { pattern: '^[a-c]$' }, additionalProperties: inner() })],
    [3, () => ({ type: 'array', items: inner(), ...bounds('minItems', 'maxItems', 0, 4) })],
    [1, () => ({ type: 'array', prefixItems: several(3), items: pick<unknown>(random, [false, inner()]) })],
    [2, () => ({ anyOf: several(3) })],
    [1, () => ({ oneOf: ['p', 'q'].map((kind) => tagged(kind, inner())) })],
    [1, () => ({ allOf: [inner()] })],
    [1, () => ({ ...object(random, inner), allOf: [{ properties: { a: {}, more: inner() } }, { minProperties: 1 }] })],
    [1, () => ({ type: 'object', patternProperties: { '^a': inner(), b$: {} }, additionalProperties: false })],
    [1, () => ({ ...object(random, inner), additionalProperties: { type: 'boolean' } })],
  ])
}

function object(random: Random, inner: () => unknown): Record<string, unknown> {
  const keys = KEYS.filter(() => chance(random, 0.5))
  const isClosed = chance(random, 0.3)
  return {
    type: 'object',
    title: 'an object',
    properties: Object.fromEntries(keys.map((key) => [key, inner()])),
    required: [...keys, ...(isClosed ? [] : ['unnamed'])].filter(() => chance(random, 0.4)),
    ...(isClosed ? { additionalProperties: false } : chance(random, 0.5) && { additionalProperties: true }),
  }
}

const tagged = (kind: string, value: unknown) => ({
  type: 'object',
  properties: { kind: { const: kind }, value },
  required: ['kind', 'value'],
})
