/** Texts of random tokens among those that are allowed are what was asked for. */

import Ajv2020 from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { randomStream } from '../../../lib/common/random.js'
import {
  type Constraint,
  type ConstraintOptions,
  openConstraint,
} from '../../../lib/generate/constraints/constraint.js'
import { limits } from '../../../lib/generate/constraints/limits.js'
import { JSON_SPACINGS, type JsonSpacing } from '../../../lib/options/constraint.js'
import { loadTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'
import { assetPath, lacksRealModel, REAL_MODEL } from '../../assets.js'
import { goldenPath } from '../../golden/files.js'
import { needing } from '../../needs.js'
import { randomSchema } from './random-schemas.js'
import { allows as allowsText, bytesOf, written } from './written.js'

const seed = Number(process.env.MORA_TEST_SEED ?? 1)
const SCHEMAS = process.env.MORA_TEST_LONG ? 1000 : 60
let tokenizer: Tokenizer
let bytes: Uint8Array[]
let eosId: number

beforeAll(async () => {
  tokenizer = (await loadTokenizer(goldenPath('tokenizers/small-bpe')))!
  bytes = bytesOf(tokenizer)
  eosId = tokenizer.eosId!
})

const open = (options: ConstraintOptions, signal?: AbortSignal) =>
  openConstraint(options, { tokenizer, eosIds: [eosId] }, signal)

const allows = (constraint: Constraint, text: string) => allowsText(constraint, text, { bytes, eosId })

async function writtenTexts(options: ConstraintOptions, count: number): Promise<string[]> {
  const constraint = await open(options)
  const random = randomStream(seed, 'test', 'texts')
  const texts: string[] = []
  for (let i = 0; i < count; i++) {
    constraint.reset()
    const { text, isComplete } = await written(constraint, bytes, eosId, random, 20)
    expect(isComplete, text).toBe(true)
    texts.push(text)
  }
  constraint.dispose()
  return texts
}

/** Whether all separators of a JSON text are of one spacing. */
function isSpaced(text: string, spacing: JsonSpacing): boolean {
  const separators = text.replace(/"(?:[^"\\]|\\.)*"/g, '""').match(/[,:] ?/g) ?? []
  const isOf = { compact: /^.$/, spaced: /^. $/ }
  return (['compact', 'spaced'] as const).some(
    (one) => (spacing === 'either' || spacing === one) && separators.every((separator) => isOf[one].test(separator)),
  )
}

describe('a schema', () => {
  it('gives only valid documents, whatever it asks for', { timeout: 3_600_000 }, async () => {
    const ajv = addFormats.default(new Ajv2020.default({ strict: false, logger: false, multipleOfPrecision: 9 }))
    const faults: unknown[] = []
    for (let i = 0; i < SCHEMAS; i++) {
      const random = randomStream(seed, 'test', 'schema', i)
      const schema = randomSchema(random)
      const isValid = ajv.compile(schema)
      const jsonSpacing = JSON_SPACINGS[i % JSON_SPACINGS.length]!
      const constraint = await open({ schema, jsonSpacing })
      for (let n = 0; n < 3; n++) {
        constraint.reset()
        const { text, isComplete } = await written(constraint, bytes, eosId, random)
        let isFaulty = !isComplete
        try {
          isFaulty ||= !isValid(JSON.parse(text)) || !isSpaced(text, jsonSpacing)
        } catch {
          isFaulty = true
        }
        if (isFaulty) faults.push({ i, schema: JSON.stringify(schema), text, isComplete, errors: isValid.errors })
      }
      constraint.dispose()
    }
    expect(faults).toEqual([])
  })

  it('is written in the spacing whose first separator came, throughout', async () => {
    const named = { enum: [{ a: [1, { b: 2 }] }, 'x, y: z', {}] }
    const schema = {
      type: 'object',
      properties: {
        one: named,
        list: { type: 'array', items: { $ref: '#/$defs/point' } },
        map: { type: 'object', additionalProperties: { const: [1, 2] } },
        any: {},
        empty: { type: 'object', properties: { left: true } },
      },
      required: ['one'],
      $defs: { point: { type: 'object', properties: { x: { type: 'integer' }, y: { type: 'integer' } } } },
    }
    const point = { x: 1, y: 2 }
    const documents = [
      {
        one: { a: [1, { b: 2 }] },
        list: [point, {}, point],
        map: { k: [1, 2], l: [1, 2] },
        any: { z: [[], 1] },
        empty: {},
      },
      { one: 'x, y: z', list: [], any: 'a, b: c' },
      { one: {} },
    ]
    const opened = await Promise.all(JSON_SPACINGS.map((jsonSpacing) => open({ schema, jsonSpacing })))
    for (const document of documents) {
      const compact = JSON.stringify(document)
      const spaced = compact.replace(/("(?:[^"\\]|\\.)*")|([,:])/g, (_, text, mark) => text ?? `${mark} `)
      const mixed = compact.replace(/"one":/, '"one": ')
      const expected = { either: [compact, spaced], compact: [compact], spaced: [spaced] }
      for (const [i, jsonSpacing] of JSON_SPACINGS.entries()) {
        for (const text of [compact, spaced, mixed])
          expect(await allows(opened[i]!, text), text).toBe(expected[jsonSpacing].includes(text))
      }
    }
    for (const one of opened) one.dispose()
  })

  it('allows the integers within its bounds, and no others', async () => {
    const random = randomStream(seed, 'test', 'integers')
    for (let i = 0; i < 20; i++) {
      const minimum = random.integer(10 ** (1 + (i % 6))) - 300
      const maximum = minimum + random.integer(10 ** (1 + (i % 5)))
      const constraint = await open({ schema: { type: 'integer', minimum, maximum } })
      const near = [minimum, maximum, 0, 9, 10, 99, 100].flatMap((value) => [value - 1, value, value + 1])
      for (const value of near) {
        expect(await allows(constraint, String(value)), `${value} in ${minimum} … ${maximum}`).toBe(
          value >= minimum && value <= maximum,
        )
      }
      constraint.dispose()
    }
  })

  it('allows numbers within whole bounds', async () => {
    const constraint = await open({ schema: { type: 'number', exclusiveMinimum: 0, maximum: 1 } })
    for (const text of ['1', '1.0', '0.5', '0.000001']) expect(await allows(constraint, text), text).toBe(true)
    for (const text of ['0', '0.0', '1.1', '-0.5', '2', '.5', '01'])
      expect(await allows(constraint, text), text).toBe(false)
    constraint.dispose()
  })

  it.each([
    [{ const: 'foo' }, ['{"foo":1}', '{}'], ['{"bar":1}']],
    [false, ['{}'], ['{"foo":1}']],
    [
      { anyOf: [{ const: 'a' }, { pattern: '^b+$' }] },
      ['{"a":1}', '{"bb":1}', '{"a":1,"b":2}'],
      ['{"c":1}', '{"ab":1}'],
    ],
    [{ oneOf: [{ type: 'integer' }, { type: 'string', maxLength: 2 }] }, ['{"aa":1}'], ['{"aaa":1}']],
    [{ $ref: '#/$defs/name' }, ['{"x":1}', '{"y":1}', '{}'], ['{"z":1}']],
    [{ allOf: [{ enum: ['x', 3] }] }, ['{"x":1}'], ['{"3":1}']],
    [{ minimum: 3 }, ['{"any":1}'], []],
  ])('allows the names of propertyNames %j', async (propertyNames, valid, invalid) => {
    const schema = {
      type: 'object',
      propertyNames,
      additionalProperties: { type: 'integer' },
      $defs: { name: { enum: ['x', 'y'] } },
    }
    const constraint = await open({ schema })
    for (const text of valid) expect(await allows(constraint, text), text).toBe(true)
    for (const text of invalid) expect(await allows(constraint, text), text).toBe(false)
    constraint.dispose()
  })

  it('may be one of zod', async () => {
    const schema = z.object({
      email: z.email(),
      kind: z.discriminatedUnion('is', [
        z.object({ is: z.literal('a') }),
        z.object({ is: z.literal('b'), n: z.int() }),
      ]),
      when: z.iso.datetime().optional(),
      scores: z.record(z.enum(['x', 'y']), z.number().min(0).max(1)),
      pair: z.tuple([z.string(), z.boolean()]).nullable(),
    })
    for (const text of await writtenTexts({ schema }, 5))
      expect(schema.safeParse(JSON.parse(text)).error).toBeUndefined()
  })

  it.each([
    [
      { type: 'integer', multipleOf: 2017 },
      /the multipleOf 2017, whose remainders within these bounds take too many states at #;/,
    ],
    [{ type: 'integer', multipleOf: 0 }, /multipleOf at #, which is 0 and not a number above 0/],
    [{ properties: { a: { not: { type: 'null' } } } }, /not at #\/properties\/a;/],
    [{ type: 'array', uniqueItems: true }, /uniqueItems at #, which is true and not false/],
    [{ type: 'string', pattern: '(?<=a)' }, /lookbehind or another special group in the regular expression \(\?<=a\)/],
    [{ type: 'string', pattern: '(?:(?=a)b)*' }, /an anchor or a lookahead that is repeated in the regular/],
    [{ type: 'string', format: 'iri' }, /the format iri at #/],
    [{ oneOf: [{ type: 'string' }, { maxLength: 3 }] }, /oneOf at #, whose schemas are not told apart/],
    [{ allOf: [{ type: 'string' }, { type: 'null' }] }, /no type at #/],
    [{ allOf: [{ pattern: '^a' }, { pattern: '^b' }] }, /a condition that no text fits at #;/],
    [{ type: 'number', exclusiveMinimum: 0.5, maximum: 0.5 }, /a condition that no text fits at #/],
    [{ $ref: 'https://example.org' }, /the reference https:\/\/example.org at #/],
    [{ type: 'object', additionalProperties: { type: 'null' }, minProperties: 2 }, /minProperties/],
    [{ type: 'integer', minimum: 3, maximum: 2 }, /a condition that no text fits at #/],
    [{ type: 'object', properties: { a: false }, required: ['a'] }, /the property a at #, which is required and/],
    [{ enum: [] }, /no value at #/],
    [z.date(), /Date/],
    [{ type: 'array', maxItems: 'x' }, /maxItems at #, which is "x" and not a whole number/],
    [{ type: 'array', maxItems: 1.5 }, /maxItems at #, which is 1.5 and not/],
    [{ items: { minLength: -5 } }, /minLength at #\/items, which is -5 and not/],
    [{ minimum: '0' }, /minimum at #, which is "0" and not a number/],
    [{ properties: { a: 5 } }, /properties at #, which is {"a":5} and not an object of schemas/],
    [{ required: 'a' }, /required at #/],
    [{ items: [5] }, /items at #, which is \[5\] and not a schema or a list of schemas/],
    [{ type: 'strings' }, /type at #, which is "strings" and not a type/],
    [{ anyOf: [] }, /anyOf at #, which is \[\] and not a list of one schema or more/],
    [{ type: 'string', minLength: 5, maxLength: 3 }, /minLength above maxLength at #/],
    [{ $ref: '#' }, /the reference # at #, which leads back to itself/],
    [
      { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { anyOf: [{ $ref: '#/$defs/a' }, {}] } } },
      /back to itself/,
    ],
    [{ $ref: '#/%E0%A4%A' }, /the reference #\/%E0%A4%A at #/],
    [{ propertyNames: { not: { const: 'a' } } }, /not at #\/propertyNames/],
    [{ propertyNames: { const: 'a' }, required: ['b'] }, /the property b at #, which is required and forbidden/],
    [
      { patternProperties: Object.fromEntries([...'abcde'].map((one) => [one, {}])) },
      /more than 4 patternProperties at #/,
    ],
  ])('%j is refused by name', async (schema, message) => {
    await expect(open({ schema })).rejects.toThrow(
      expect.objectContaining({ code: 'unsupported-constraint', message: expect.stringMatching(message) }),
    )
  })
})

describe('a regular expression', () => {
  it.each([
    '[a-c]{2,4}|x+',
    '\\d{3}-\\d{4}',
    '(?:é|[\\u4e00-\\u4e20]|😀)*!',
    '[^a-z]+?',
    '.\\s\\S\\w\\W\\D',
    'a|ab|abc[^]',
    '^$',
    '\\x41\\n"\\\\',
  ])('%s gives only texts that it matches', async (regex) => {
    for (const text of await writtenTexts({ regex }, 20)) expect(text).toMatch(new RegExp(`^(?:${regex})$`, 'u'))
  })

  it('with an anchor inside is refused', async () => {
    await expect(open({ regex: 'a^b' })).rejects.toThrow(expect.objectContaining({ code: 'unsupported-constraint' }))
    await expect(open({ regex: '(' })).rejects.toThrow(/which is no regular expression/)
  })
})

describe('choices and grammars', () => {
  it('give only their texts, and each of them', async () => {
    const choices = ['yes', 'yes, really', 'no', 'né "\\', '']
    const texts = await writtenTexts({ choices: choices.slice(0, 4) }, 40)
    expect(new Set(texts)).toEqual(new Set(choices.slice(0, 4)))
    const grammar = 'root ::= "(" root ")" | [a-c]'
    for (const text of await writtenTexts({ grammar }, 10)) expect(text).toMatch(/^\(*[abc]\)*$/)
  })

  it('are refused where they are malformed', async () => {
    await expect(open({ grammar: 'root ::= x' })).rejects.toThrow(
      expect.objectContaining({
        code: 'malformed-grammar',
        message: expect.stringContaining('Rule "x" is not defined'),
      }),
    )
    await expect(open({ grammar: 'root ::= "a"' })).resolves.toBeDefined()
    await expect(open({})).rejects.toThrow(expect.objectContaining({ code: 'unfit-options' }))
    await expect(open({ regex: 'a', choices: ['a'] })).rejects.toThrow(
      expect.objectContaining({ code: 'unfit-options' }),
    )
  })
})

describe('what takes too much', () => {
  const times = (count: number, part: string) => `(?:${part}){${count}}`
  const patterns = (count: number) => Array.from({ length: count }, (_, i) => [`k${i}`, { pattern: `^.{9}${i}$` }])

  beforeAll(() => {
    limits.seconds = 1
    limits.mebibytes = 32
  })
  afterAll(() => {
    limits.seconds = seconds
    limits.mebibytes = mebibytes
  })
  const { seconds, mebibytes } = { ...limits }

  it.each<[string, ConstraintOptions]>([
    ['nested repetitions', { grammar: 'root ::= (("a"{0,300}){0,300}){0,300}' }],
    [
      'a chain of rules',
      { grammar: Array.from({ length: 5000 }, (_, i) => `${i === 0 ? 'root' : `r${i}`} ::= "a" r${i + 1}`).join('\n') },
    ],
    ['exponents', { regex: times(999, times(999, times(999, 'a'))) }],
    ['repetitions of nothing', { regex: times(1e9, times(1e9, '')) }],
    ['a long pattern', { schema: { pattern: 'a'.repeat(7e6) } }],
    ['many choices', { choices: Array.from({ length: 600_000 }, (_, i) => String(i)) }],
    ['choices of many letters', { choices: Array.from({ length: 20_000 }, (_, i) => `label ${i}`) }],
    ['a deep schema', { schema: JSON.parse(`${'{"items":'.repeat(9000)}{}${'}'.repeat(9000)}`) }],
    ['many items', { schema: { type: 'array', minItems: 2 ** 40 } }],
  ])('ends with a sentence, and leaves other texts alone: %s', async (_, options) => {
    const other = await open({ choices: ['yes', 'no'] })
    const refused = open(options).then(
      () => undefined,
      (error: unknown) => error,
    )
    // It is written while the other one is compiled.
    expect(await allows(other, 'yes')).toBe(true)
    expect(await refused).toMatchObject({
      code: expect.stringMatching(/^(unsupported-constraint|malformed-grammar)$/),
      message: expect.stringMatching(/^[^\n]{10,700}\.$/),
    })
    expect(await allows(other, 'no')).toBe(true)
    other.dispose()
  })

  it('names the depth of parentheses that a grammar may have', async () => {
    const nested = (depth: number) => open({ grammar: `root ::= ${'('.repeat(depth)}"a"${')'.repeat(depth)} "b(" # (` })
    const constraint = await nested(128)
    expect(await allows(constraint, 'ab(')).toBe(true)
    constraint.dispose()
    for (const depth of [129, 500, 20_000])
      await expect(nested(depth)).rejects.toThrow(
        `The grammar nests parentheses ${depth} deep, and at most 128 levels can be compiled; write the inner ones as rules of their own.`,
      )
  })

  it.each<[string, ConstraintOptions]>([
    ['many optional letters', { regex: '(?:a?){2000}' }],
    ['many optional pairs', { regex: '(?:a?b?){900}' }],
    ['many patterns', { schema: { properties: Object.fromEntries(patterns(3000)) } }],
  ])('is counted, not timed: %s', async (_, options) => {
    limits.seconds = 3600
    await expect(open(options)).rejects.toThrow('the size of a regular expression')
    limits.seconds = 1
  })

  it('is no expression that is long and simple', async () => {
    const none = Array.from({ length: 20_000 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join('')
    for (const regex of [`${'(?:)'.repeat(16_000)}a`, `[^${none}]`]) {
      const constraint = await open({ regex })
      expect(await allows(constraint, 'a')).toBe(true)
      constraint.dispose()
    }
  })

  it('keeps no small one waiting, whether that is right or wrong', async () => {
    limits.seconds = 3600
    limits.mebibytes = 2000
    const left = new AbortController()
    const ended: unknown[] = []
    const endless = Array.from({ length: 9 }, (_, i) =>
      open({ grammar: `root ::= (("${i}"{0,300}){0,300}){0,300}` }, left.signal).catch((error) => ended.push(error)),
    )
    const ordinary = await open({ schema: { type: 'object', properties: { name: { type: 'string' } } } })
    expect(await allows(ordinary, '{"name":"a"}')).toBe(true)
    ordinary.dispose()
    await expect(open({ schema: { contains: {} } })).rejects.toThrow('contains')
    await expect(open({ grammar: 'root ::= nothing' })).rejects.toMatchObject({ code: 'malformed-grammar' })
    expect(ended).toEqual([])
    left.abort(new Error('left'))
    await Promise.all(endless)
    expect(ended).toHaveLength(9)
    limits.seconds = 1
    limits.mebibytes = 32
  })

  it('ends once nobody waits for it', async () => {
    limits.seconds = 3600
    const left = new AbortController()
    limits.mebibytes = 2000
    const endless = { grammar: 'root ::= (("a"{0,300}){0,300}){0,301}' }
    const waiting = [open(endless, left.signal), open(endless, left.signal)]
    setTimeout(() => left.abort(new Error('left')), 50)
    for (const one of waiting) await expect(one).rejects.toThrow('left')
    // Both places for compilations are free again.
    for (const regex of ['ab', 'cd', 'ef']) (await open({ regex })).dispose()
    limits.seconds = 1
    limits.mebibytes = 32
  })
})

describe('a constraint', () => {
  it('allows no token behind the last one', async () => {
    const constraint = await openConstraint({ grammar: 'root ::= [^a] root | "a"' }, { tokenizer, eosIds: [eosId] })
    const mask = await constraint.mask()
    expect(mask.at(-1)! >>> (tokenizer.vocabularySize % 32)).toBe(0)
    constraint.dispose()
  })

  it('ends with a token that ends texts, and begins again', async () => {
    const constraint = await openConstraint({ choices: ['a'] }, { tokenizer, eosIds: [eosId, 2], vocabularySize: 1000 })
    const [a] = await tokenizer.encode('a')
    for (let i = 0; i < 2; i++) {
      const mask = await constraint.mask()
      expect(mask).toHaveLength(Math.ceil(1000 / 32))
      expect(
        [...mask]
          .flatMap((word, at) => Array.from({ length: 32 }, (_, bit) => ((word >>> bit) & 1 ? at * 32 + bit : -1)))
          .filter((id) => id >= 0),
      ).toEqual([a])
      expect(() => constraint.accept(eosId)).toThrow(expect.objectContaining({ code: 'bad-value' }))
      constraint.accept(a!)
      expect((await constraint.mask())[0]).toBe((1 << eosId) | (1 << 2))
      constraint.accept(2)
      expect(constraint.done).toBe(true)
      expect((await constraint.mask()).every((word) => word === 0)).toBe(true)
      constraint.reset()
    }
    constraint.dispose()
  })

  needing(lacksRealModel).it('works with a vocabulary of 49,152 tokens', { timeout: 300_000 }, async () => {
    const real = (await loadTokenizer(assetPath(REAL_MODEL)))!
    const words = bytesOf(real)
    const schema = z.object({
      name: z.string(),
      age: z.int().min(0).max(150),
      tags: z.array(z.string().max(20)).max(3),
    })
    const constraint = await openConstraint({ schema }, { tokenizer: real, eosIds: [real.eosId!] })
    const random = randomStream(seed, 'test', 'real')
    for (let i = 0; i < 3; i++) {
      constraint.reset()
      const { text, isComplete } = await written(constraint, words, real.eosId!, random)
      expect(isComplete).toBe(true)
      expect(schema.safeParse(JSON.parse(text)).error).toBeUndefined()
    }
  })
})
