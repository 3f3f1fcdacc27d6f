import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type CommandResult, defineCommand } from '../../lib/cli/command.js'
import { runCommandLine } from '../../lib/cli/run-command.js'
import { RunError, UsageError } from '../../lib/common/errors.js'
import { commonOptions } from '../../lib/options/common.js'
import { integer, text } from '../../lib/schema/option.js'
import { requiredByCommands } from '../../lib/schema/option-facts.js'
import { testTerminal } from './terminal.js'

const schema = z.strictObject({
  model: requiredByCommands(text('a model', 'M')),
  count: integer('a count', 1, { min: 1 }),
  ...commonOptions,
})

async function run(argv: string[], work: () => CommandResult, environment: Record<string, string> = {}) {
  const terminal = testTerminal({ environment })
  const command = defineCommand({
    name: 'work',
    summary: 'does something',
    schema,
    examples: [],
    check({ count }) {
      if (count === 13) throw new UsageError('unfit-options', 'Thirteen does not fit.')
    },
    async run(_, { log }) {
      log('a log line')
      return work()
    },
  })
  const exitCode = await runCommandLine(argv, { commands: [command], version: '1.0.0', terminal })
  return { exitCode, ...terminal.written }
}

const done = (): CommandResult => ({ json: { answer: 42 }, text: 'The answer is 42.' })

describe('a command that succeeds', () => {
  it('prints its text on stdout and logs on stderr', async () => {
    expect(await run(['work', '--model', 'm'], done)).toEqual({
      exitCode: 0,
      stdout: 'The answer is 42.\n',
      stderr: 'a log line\n',
    })
  })

  it('prints one JSON document and nothing else on stdout with --json', async () => {
    const { exitCode, stdout } = await run(['work', '--json', '--model', 'm'], done)
    expect(exitCode).toBe(0)
    expect(stdout).toBe('{"answer":42}\n')
  })

  it('is silent on stderr with --quiet', async () => {
    expect((await run(['work', '--quiet', '--model', 'm'], done)).stderr).toBe('')
  })

  it('ends with 130 when the user stopped it', async () => {
    const result = await run(['work', '--json', '--model', 'm'], () => ({ ...done(), exitCode: 130 }))
    expect(result).toMatchObject({ exitCode: 130, stdout: '{"answer":42}\n' })
  })
})

describe('a command that fails', () => {
  const fail = (error: unknown) => (): CommandResult => {
    throw error
  }

  it.each([
    [['work'], 'missing-option', 'Missing --model; it is required.'],
    [
      ['work', '--model', 'm', '--count', '0'],
      'bad-value',
      'Expected a whole number of at least 1 for --count but received 0.',
    ],
    [['work', '--model', 'm', '--count', '13'], 'unfit-options', 'Thirteen does not fit.'],
    [['work', '--modl', 'm'], 'unknown-option', 'Unknown option --modl; did you mean --model?'],
    [['play'], 'unknown-command', 'Unknown command "play"; known: work.'],
    [
      ['work', '--config', '/absent.yaml'],
      'missing-file',
      'Cannot read the options in /absent.yaml: there is no such file.',
    ],
  ])('before work ends with 2: %j', async (argv, code, message) => {
    const plain = await run(argv, done)
    expect(plain).toEqual({ exitCode: 2, stdout: '', stderr: `mora: ${message}\n` })
    const json = await run([...argv, '--json'], done)
    expect(json.exitCode).toBe(2)
    expect(JSON.parse(json.stdout)).toEqual({ error: { code, message } })
    expect(json.stderr).toBe(`mora: ${message}\n`)
  })

  it('while working ends with 1 and one sentence', async () => {
    const result = await run(
      ['work', '--json', '--model', 'm'],
      fail(new RunError('non-finite', 'The loss\n  is NaN.')),
    )
    expect(result.exitCode).toBe(1)
    expect(JSON.parse(result.stdout)).toEqual({ error: { code: 'non-finite', message: 'The loss is NaN.' } })
    expect(result.stderr).toBe('a log line\nmora: The loss is NaN.\n')
  })

  it('shows a stack only when MORA_DEBUG is set', async () => {
    const error = new TypeError('surprise')
    expect((await run(['work', '--model', 'm'], fail(error))).stderr).not.toMatch(/^ +at /m)
    const debugged = await run(['work', '--model', 'm'], fail(error), { MORA_DEBUG: '1' })
    expect(debugged.exitCode).toBe(1)
    expect(debugged.stderr).toContain('run-command.test.ts')
  })

  it("unexpectedly is reported in plain words, not in V8's or C++'s", async () => {
    const fault = await run(['work', '--model', 'm'], () => ({
      json: null,
      text: (undefined as unknown as string).at(0)!,
    }))
    expect(fault.exitCode).toBe(1)
    expect(fault.stderr).toMatch(
      /^a log line\nmora: This is a fault of node-mora \(TypeError at run-command\.test\.ts:\d+\), please report it; MORA_DEBUG=1 shows more\.\n$/,
    )
    const memory = await run(['work', '--model', 'm', '--json'], fail(new Error('std::bad_alloc')))
    expect(JSON.parse(memory.stdout)).toMatchObject({ error: { code: 'out-of-memory' } })
    expect(memory.stderr).not.toContain('std::')
    const size = await run(['work', '--model', 'm', '--json'], () => ({ json: null, text: 'x'.repeat(2 ** 30) }))
    expect(JSON.parse(size.stdout)).toMatchObject({ error: { code: 'too-large' } })
  })

  it('with something that is not an Error is named too', async () => {
    expect(await run(['work', '--model', 'm'], fail('a string'))).toMatchObject({ exitCode: 1 })
  })
})

describe('what a command says of others', () => {
  const hostile = '\u001b[2J\u009b31m\u202e\r\u007f'
  const shown = '\\u001b[2J\\u009b31m\\u202e\\u000d\\u007f'

  it('is printable, in texts, documents and failures', async () => {
    const text = await run(['work', '--model', 'm'], () => ({ json: null, text: `${hostile}\n${hostile}` }))
    expect(text.stdout).toBe(`${shown}\n${shown}\n`)
    const document = await run(['work', '--model', 'm', '--json'], () => ({ json: { [hostile]: hostile }, text: '' }))
    expect(document.stdout).toMatch(/^[\x20-\x7e]+\n$/)
    expect(JSON.parse(document.stdout)).toEqual({ [hostile]: hostile })
    const failure = await run(['work', '--model', 'm'], () => {
      throw new Error(`${hostile}\n${'x'.repeat(1e6)}`)
    })
    expect(failure.stderr).toMatch(/^a log line\nmora: \\u001b\[2J.* x+…x+\n$/)
    expect(failure.stderr.length).toBeLessThan(2048)
  })

  it('keeps the colours of a command that has some', async () => {
    const { stdout } = await run(['work', '--model', 'm'], () => ({
      json: null,
      text: '\u001b[32mx',
      isPrintable: true,
    }))
    expect(stdout).toBe('\u001b[32mx\n')
  })
})

describe('mora without arguments', () => {
  it('shows help on stderr and ends with 2', async () => {
    const { exitCode, stdout, stderr } = await run([], done)
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toContain('Usage: mora')
  })

  it('asked for help, shows it on stdout and ends with 0', async () => {
    const { exitCode, stdout, stderr } = await run(['work', '--help'], done)
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(stdout).toContain('--model <M>')
  })
})
