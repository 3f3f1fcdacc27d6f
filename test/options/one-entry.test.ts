/** An option is declared once; everything else is derived from the declaration. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { defineCommand } from '../../lib/cli/command.js'
import { parseArguments } from '../../lib/cli/parser.js'
import { commonOptions } from '../../lib/options/common.js'
import { forLibrary, parseOptions, requireOptions, resolveWithConfig, TrainSchema } from '../../lib/options/index.js'
import { flag, integer, text } from '../../lib/schema/option.js'
import {
  commandLineOnly,
  type LibraryInput,
  required,
  requiredByCommands,
  resumeRule,
} from '../../lib/schema/option-facts.js'

const schema = z.strictObject({
  warmth: integer('how warm the rows are', 3, { min: 1, max: 9, resume: 'rounding' }),
  place: required(text('where they lie', 'PLACE')),
  shelf: requiredByCommands(text('on which shelf', 'SHELF')),
  colours: commandLineOnly(flag('print colours')),
  ...commonOptions,
})

const command = defineCommand({
  name: 'work',
  summary: 'does something',
  schema,
  examples: [],
  check() {},
  run: async () => ({ json: null, text: '' }),
})

const parse = (...argv: string[]) => parseArguments(['work', ...argv], [command], { version: '1', columns: 200 })

function file(content: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'mora-entry-')), 'options.yaml')
  writeFileSync(path, content)
  return path
}

describe('an option that is declared once', () => {
  it('is in help, with its default or as required', () => {
    const help = parse('--help')
    const text = help.kind === 'text' ? help.text.replace(/ +/g, ' ') : ''
    expect(text).toContain('--warmth <N> how warm the rows are (default: 3)')
    expect(text).toContain('--place <PLACE> where they lie (required)')
    expect(text).toContain('--shelf <SHELF> on which shelf (required)')
  })

  it('is a flag, a line of YAML and an option of the library, checked alike', () => {
    expect(parse('--warmth', '4')).toMatchObject({ given: { warmth: 4 } })
    expect(resolveWithConfig(schema, { config: file('warmth: 5\n') }).warmth).toBe(5)
    expect(parseOptions(schema, { warmth: 6 }).warmth).toBe(6)
    expect(() => parseOptions(schema, { warmth: 10 })).toThrow(
      'Expected a whole number of at least 1 up to 9 for warmth but received 10.',
    )
    expect(() => resolveWithConfig(schema, { warmth: 0 })).toThrow('for --warmth but received 0')
  })

  it('says whether a resumed run may change it', () => {
    expect(resumeRule(schema, 'warmth')).toBe('rounding')
    expect(resumeRule(schema, 'place')).toBe('exact')
    expect(resumeRule(schema, 'colours')).toBe('free')
    expect(resumeRule(schema, 'toString')).toBe('exact')
  })

  it('is required of those that it declares', () => {
    const missing = (source: 'api' | 'flags') => () => requireOptions(schema, {}, source)
    expect(missing('api')).toThrow('Missing place; it is required.')
    expect(missing('flags')).toThrow('Missing --place, --shelf; they are required.')
    expect(() => requireOptions(schema, { place: 'here' })).not.toThrow()
  })

  it('is known to TypeScript', () => {
    const input: LibraryInput<typeof schema> = { place: 'here', warmth: 4 }
    // @ts-expect-error place is required
    const without: LibraryInput<typeof schema> = { warmth: 4 }
    // @ts-expect-error colours are the command line's alone
    const coloured: LibraryInput<typeof schema> = { place: 'here', colours: true }
    // @ts-expect-error a number
    const warm: LibraryInput<typeof schema> = { place: 'here', warmth: 'very' }
    expect([input, without, coloured, warm]).toHaveLength(4)
  })
})

describe("an option that is the command line's alone", () => {
  const api = (raw: object) => () => parseOptions(TrainSchema, raw)

  it.each(['json', 'profile'])('%s is refused by the library unless it is false', (name) => {
    expect(api({ [name]: true })).toThrow(`The option ${name} is for the command line only; remove it.`)
    expect(api({ [name]: false })).not.toThrow()
  })

  it('is allowed in a YAML file', () => {
    const options = resolveWithConfig(TrainSchema, { config: file('json: true\nquiet: true\nprofile: true\n') })
    expect(options).toMatchObject({ json: true, quiet: true, profile: true })
  })

  it('is removed before a command calls the library', () => {
    const options = parseOptions(schema, { colours: true, json: true, warmth: 4, place: 'here' }, 'flags')
    expect(Object.keys(forLibrary(schema, options))).not.toContain('json')
    expect(() => parseOptions(schema, forLibrary(schema, options))).not.toThrow()
  })

  it('of a run is not read from its run.yaml again', () => {
    const run = file('options: { rank: 3, json: true, quiet: true, profile: true, offline: true, resume: true }\n')
    expect(resolveWithConfig(TrainSchema, { config: run })).toMatchObject({
      rank: 3,
      json: false,
      quiet: false,
      profile: false,
      offline: false,
      resume: false,
    })
  })
})
