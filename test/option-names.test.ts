import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { flagOf, optionName, speaking, TheOption, theOption } from '../lib/common/option-names.js'
import { DashboardSchema, GenerateSchema, InspectSchema, PushSchema, TrainSchema } from '../lib/options/index.js'

describe('an option in a message', () => {
  it.each<[name: string, value: unknown, library: string, flags: string, fields: string]>([
    ['maxLength', undefined, 'maxLength', '--max-length', 'max_length'],
    ['minNewTokens', undefined, 'minNewTokens', '--min-new-tokens', 'min_tokens'],
    ['template', undefined, 'template', '--template', "the server's option template"],
    ['allowOtherBase', undefined, 'allowOtherBase', '--allow-other-base', "the server's option allowOtherBase"],
    ['trainOn', 'all', 'trainOn: all', '--train-on all', 'train_on: all'],
    ['maxSteps', 8, 'maxSteps: 8', '--max-steps 8', 'max_steps: 8'],
    ['quantised', true, 'quantised: true', '--quantised', 'quantised: true'],
    ['quantised', false, 'quantised: false', '--no-quantised', 'quantised: false'],
    ['ignoreColumns', ['a', 'b'], "ignoreColumns: ['a', 'b']", '--ignore-columns a,b', "ignore_columns: ['a', 'b']"],
    ['allowChanges', ['topK'], "allowChanges: ['topK']", '--allow-changes top-k', "allow_changes: ['topK']"],
    [
      'columns',
      { a: 'x', b: 'y.z' },
      "columns: { a: 'x', b: 'y.z' }",
      '--columns a=x,b=y.z',
      "columns: { a: 'x', b: 'y.z' }",
    ],
  ])('%s %j is named as its reader writes it', (name, value, library, flags, fields) => {
    const named = () => optionName(name, value)
    expect([named(), speaking('flags', named), speaking('fields', named)]).toEqual([library, flags, fields])
  })

  it('is called an option where its name may be a word of English', () => {
    const named = () => `${TheOption('topK')} needs ${theOption('tools')}.`
    expect(named()).toBe('The option topK needs the option tools.')
    expect(speaking('flags', named)).toBe('--top-k needs --tools.')
    expect(speaking('fields', named)).toBe('top_k needs tools.')
  })

  it('is named for its reader in work that goes on', async () => {
    const later = async () => {
      await new Promise(setImmediate)
      return optionName('topK')
    }
    expect(await Promise.all([speaking('flags', later), later(), speaking('fields', later)])).toEqual([
      '--top-k',
      'topK',
      'top_k',
    ])
  })
})

describe('sentences of the library', () => {
  const lib = join(import.meta.dirname, '..', 'lib')
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  // Clients read of the server's options as of a program's.
  const ofTheLibrary = files.filter((name) => !/^(cli|demo|options|schema|serve|models\/load-options\.ts)\b/.test(name))
  const lines = ofTheLibrary.flatMap((name) => readFileSync(join(lib, name), 'utf8').split('\n'))
  const names = Object.keys({
    ...TrainSchema.shape,
    ...GenerateSchema.shape,
    ...InspectSchema.shape,
    ...DashboardSchema.shape,
    ...PushSchema.shape,
  })
  const text = `^[^/*]*['"\`].*`

  it('name no flag', () => {
    const naming = new RegExp(`${text}[ (](?:${names.map(flagOf).join('|')})(?![\\w-])|${text}--no-[a-z]`)
    // Model cards name commands.
    const isCommand = (line: string) => /--adapter [$T]|mora generate |`mora eval \$/.test(line)
    expect(lines.filter((line) => naming.test(line) && !isCommand(line))).toEqual([])
  })

  it('name an option in help in the words of no door', () => {
    const naming = new RegExp(`defaultText: ['"\`].* (?:${names.filter((name) => /[A-Z]/.test(name)).join('|')})\\b`)
    expect(lines.filter((line) => naming.test(line))).toEqual([])
  })

  it('name an option only as a door may spell it', () => {
    const naming = new RegExp(`${text}\\b[Tt]he options? (?:${names.join('|')})(?!\\w)`)
    expect(lines.filter((line) => naming.test(line))).toEqual([])
  })
})
