import { describe, expect, it } from 'vitest'
import { commands } from '../../lib/cli/commands/index.js'
import { parseArguments } from '../../lib/cli/parser.js'
import { kebabCase } from '../../lib/common/option-names.js'
import { resolveWithConfig } from '../../lib/options/index.js'
import { optionDefault, optionFacts } from '../../lib/schema/option-facts.js'

const parse = (...argv: string[]) => parseArguments(argv, commands, { version: '1.2.3', columns: 100 })

function given(...argv: string[]): Record<string, unknown> {
  const parsed = parse(...argv)
  if (parsed.kind !== 'command') throw new Error(`Expected a command but received: ${parsed.text}`)
  return parsed.given
}

function textOf(...argv: string[]): string {
  const parsed = parse(...argv)
  if (parsed.kind !== 'text') throw new Error('Expected a text but received a command.')
  return parsed.text
}

/** A value that the option accepts, as a user would type it. */
function sample({ kind, choices, expects }: ReturnType<typeof optionFacts>): string {
  if (choices) return choices[0]!
  if (kind === 'number') return /below 1/.test(expects) ? '0.5' : '1000000'
  if (expects.startsWith('auto, or')) return 'auto'
  if (expects.includes('lora:8')) return 'lora:8'
  if (expects === 'numbers with commas') return '1,2'
  if (expects.startsWith('patterns') || expects.startsWith('balanced')) return 'x=1'
  if (expects.startsWith('parts with')) return 'prompt=x'
  if (expects.startsWith('a size')) return '2GiB'
  if (expects === 'a token id') return '2'
  if (expects.startsWith('a JSON object')) return '{}'
  if (expects.startsWith('a text with columns')) return '{a}'
  if (expects.includes('owner/name')) return 'owner/name'
  return expects.includes('cuda') ? 'cuda:1' : 'x'
}

describe('T31 help and parser are both made from the schemas', () => {
  it('mora --help names every command', () => {
    const help = textOf('--help')
    for (const { name, summary } of commands) {
      expect(help).toMatch(new RegExp(`^  ${name} `, 'm'))
      expect(help.replace(/\s+/g, ' ')).toContain(summary)
    }
  })

  describe.each(commands.map((command) => ({ name: command.name, command })))('mora $name', ({ name, command }) => {
    /** Without what depends on the columns. */
    const running = (text: string) => text.replaceAll(' \\\n', '\n').replace(/\s+/g, ' ')
    const help = running(textOf(name, '--help'))
    const isIdle = (key: string) => (command.idle as readonly string[] | undefined)?.includes(key) ?? false

    it.each([80, 60])('--help fits %d columns with whole words', (columns) => {
      const parsed = parseArguments([name, '--help'], commands, { version: '1.2.3', columns })
      if (parsed.kind !== 'text') throw new Error('Expected a text but received a command.')
      expect(parsed.text.split('\n').filter((line) => line.length > columns)).toEqual([])
      expect(running(parsed.text)).toBe(help)
    })

    it.each(Object.keys(command.schema.shape).filter(isIdle))(
      '--help leaves out %s, which the parser accepts',
      (key) => {
        const facts = optionFacts(command.schema.shape[key]!)
        expect(help).not.toContain(`--${kebabCase(key)} `)
        const argument = facts.kind === 'flag' ? [] : [facts.kind === 'number' ? '1' : sample(facts)]
        expect(Object.keys(given(name, `--${kebabCase(key)}`, ...argument))).toEqual([key])
      },
    )

    const shown = Object.entries(command.schema.shape).filter(([key]) => !isIdle(key))
    it.each(shown)('--help shows %s and the parser accepts it', (key, schema) => {
      const facts = optionFacts(schema)
      const flag = `--${kebabCase(key)}`
      expect(help).toContain(` ${flag}${facts.kind === 'flag' ? '' : facts.kind === 'optional-text' ? ' [' : ' <'}`)
      expect(help).toContain(facts.description)
      for (const choice of facts.choices ?? []) expect(help).toContain(choice)
      const standard = facts.defaultText ?? optionDefault(schema)
      const isShown = typeof standard === 'string' || typeof standard === 'number'
      if (isShown && facts.required === undefined) expect(help).toContain(`(default: ${standard})`)

      if (facts.kind === 'flag') {
        expect(given(name, flag)).toEqual({ [key]: true })
        expect(given(name, `--no-${kebabCase(key)}`)).toEqual({ [key]: false })
        return
      }
      const value = sample(facts)
      // A number whose range ends below the sample is tried with one inside it.
      const typed = facts.kind === 'number' && !schema.safeParse(Number(value)).success ? '1' : value
      // An option that weighs another one's value follows it, and becomes a part of it.
      const { weighs = key } = facts
      const before = facts.weighs ? [`--${kebabCase(facts.weighs)}`, 'value'] : []
      const parsed = given(name, ...before, flag, typed)
      expect(Object.keys(parsed)).toEqual([weighs])
      const { config: _, ...checkable } = parsed
      expect(() => resolveWithConfig(command.schema, checkable)).not.toThrow()
    })
  })
})

describe('the command line', () => {
  it('reads numbers as people write them', () => {
    expect(given('train', '--learning-rate', '3e-4', '--rank=16', '--dropout', '.5')).toEqual({
      learningRate: 3e-4,
      rank: 16,
      dropout: 0.5,
    })
  })

  it('leaves what is not a number to the check, which names it', () => {
    for (const text of ['eight', '', '0x10', '1_000', '5 ', 'Infinity']) {
      expect(given('train', '--rank', text)).toEqual({ rank: text })
    }
  })

  it('uses the last value of a repeated option, except --data, which accumulates', () => {
    expect(given('train', '--rank', '4', '--rank', '8')).toEqual({ rank: 8 })
    expect(given('train', '--packing', '--no-packing')).toEqual({ packing: false })
    expect(given('train', '--no-packing', '--packing')).toEqual({ packing: true })
    expect(given('train', '--data', 'a', '--data', '-', '--data=b')).toEqual({ data: ['a', '-', 'b'] })
    expect(given('train', '--eval-data', 'a', '--eval-data', 'b')).toEqual({ evalData: 'b' })
  })

  it('gives the --data before it a weight, and the others 1', () => {
    expect(given('train', '--data', 'a', '--data-weight', '3', '--data', 'b', '--seed', '1')).toEqual({
      data: [
        { path: 'a', weight: 3 },
        { path: 'b', weight: 1 },
      ],
      seed: 1,
    })
    expect(given('train', '--data', 'a', '--data', 'b', '--data-weight=0.5')).toEqual({
      data: [
        { path: 'a', weight: 1 },
        { path: 'b', weight: 0.5 },
      ],
    })
    expect(() => given('train', '--data-weight', '3', '--data', 'a')).toThrow(/follows the --data that it weighs/)
    expect(() => given('train', '--data', 'a', '--data-weight', '0')).toThrow(/above 0.*--data-weight.*"0"/)
  })

  it('takes --resume with and without a folder', () => {
    expect(given('train', '--resume')).toEqual({ resume: true })
    expect(given('train', '--resume', 'folder')).toEqual({ resume: 'folder' })
    expect(given('train', '--resume', '--quiet')).toEqual({ resume: true, quiet: true })
  })

  it('can turn off an option that a file turns on', () => {
    expect(given('train', '--no-resume')).toEqual({ resume: false })
    expect(given('train', '--no-json')).toEqual({ json: false })
  })

  it('takes values that begin with a dash', () => {
    expect(given('generate', '--prompt', '- one')).toEqual({ prompt: '- one' })
    expect(given('train', '--seed', '-1')).toEqual({ seed: -1 })
  })

  it('takes the value of one option of a command without its name', () => {
    expect(given('dashboard', 'runs', '--port', '0')).toEqual({ folder: 'runs', port: 0 })
    expect(given('dashboard', '--folder', 'runs')).toEqual({ folder: 'runs' })
    expect(given('dashboard')).toEqual({})
  })

  it('prints the version, and the help of a command in two ways', () => {
    expect(textOf('--version')).toBe('1.2.3\n')
    expect(textOf('help', 'merge')).toBe(textOf('merge', '--help'))
  })

  it.each([
    [['trian'], 'unknown-command', 'Unknown command "trian"; did you mean train?'],
    [['dashboard', 'runs', 'more'], 'stray-argument', 'Expected one DIR but received more'],
    [['report', 'runs', '--folder', 'more'], 'stray-argument', 'Expected one DIR but received runs and --folder more'],
    [['train', '--rnak', '8'], 'unknown-option', 'Unknown option --rnak; did you mean --rank?'],
    [['train', '--learning_rate=1'], 'unknown-option', 'Unknown option --learning_rate; did you mean --learning-rate?'],
    [['train', '--rank'], 'missing-value', 'Expected a whole number of at least 1 for --rank but received nothing.'],
    [['train', '--json=true'], 'bad-value', 'Expected no value for --json but received "true"'],
    [['train', 'rows.jsonl'], 'stray-argument', 'Expected options only'],
    [['--rank', '8'], 'unknown-option', 'Unknown option --rank; options follow a command'],
    [['merge', '--scheduler', 'cosine'], 'unknown-option', 'Unknown option --scheduler'],
    [['train', '--lr', '1e-4'], 'unknown-option', 'Unknown option --lr; did you mean --learning-rate?'],
    [['train', '--lora-r', '8'], 'unknown-option', 'did you mean --rank?'],
    [['train', '--lora_alpha', '8'], 'unknown-option', 'did you mean --alpha?'],
    [['train', '--use-dora'], 'unknown-option', 'did you mean --method dora?'],
    [['train', '--bf16'], 'unknown-option', 'did you mean --dtype bfloat16?'],
    [['train', '--num_train_epochs', '2'], 'unknown-option', 'did you mean --epochs?'],
    [['train', '--save_total_limit', '2'], 'unknown-option', 'did you mean --keep-checkpoints?'],
    [
      ['train', '--gradient_accumulation_steps', '2'],
      'unknown-option',
      'did you mean --batch-size for rows per update',
    ],
    [['generate', '--max-tokens', '2'], 'unknown-option', 'did you mean --max-new-tokens?'],
    [['merge', '--lr', '2'], 'unknown-option', 'Unknown option --lr; see --help'],
  ])('refuses %j', (argv, code, message) => {
    expect(() => parse(...argv)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }))
  })
})
