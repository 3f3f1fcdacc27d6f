/** Templates that never end or fill the memory end only the process in which they are rendered. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { ChatTemplate, type Message } from '../../../lib/text/template.js'
import { drawn } from '../../drawn.js'

const messages: Message[] = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'hello' },
]
const options = { addGenerationPrompt: false }
const templateOf = (source: string) => new ChatTemplate({ source, specialTokens: { bos_token: '<s>' }, origin: 'm' })

const TOO_LONG = /^The chat template of m takes more time than 3 s for a conversation \(its process ended: SIGALRM\)\.$/
/** Either, whichever comes first on this machine. */
const TOO_MUCH = /^The chat template of m takes more (time|memory) than/
const REFUSED = /^The chat template of m does not accept this conversation: .*\.$/

/** Makes `x`, a text or a list of 2^`times` items. */
const doubled = (first: string, times: number) =>
  `{% set ns = namespace(x=${first}) %}{% for i in range(${times}) %}{% set ns.x = ns.x + ns.x %}{% endfor %}`
const shared = '{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}'
const pattern = "{% set n = 400000 %}{% set p = 'a' * n ~ 'b' ~ 'a' * n %}"

describe('a hostile template ends with a sentence', () => {
  const cases: [string, string, RegExp][] = [
    ['loops in loops', `{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}`, TOO_LONG],
    ['a search inside one operation of JavaScript', `${pattern}{{ p in 'a' * (8 * n) }}`, TOO_LONG],
    ['a text that is replaced', `${pattern}{{ ('a' * (8 * n)).replace(p, '') }}`, TOO_LONG],
    ['attributes of many parts', "{{ range(9999) | map(attribute='.' * 40000) | list | length }}", TOO_LONG],
    ['what grows when it is written', `${shared}{{ ns.x }}`, TOO_MUCH],
    ['spaces that are stripped', `${'{{ 1 }}'}${' '.repeat(400_000)}a`, REFUSED],
    ['a list without end', `${doubled('[1]', 40)}{{ ns.x | length }}`, TOO_MUCH],
    ['a range', '{% for i in range(1000000000) %}x{% endfor %}', REFUSED],
    ['a path of many keys', `{{ x${'.y'.repeat(50_000)} }}`, REFUSED],
    ['a text of objects', `${doubled("'ab'", 26)}{% for c in ns.x %}{% endfor %}`, TOO_MUCH],
    ['a text without end', `${doubled("'ab'", 60)}{{ ns.x | length }}`, REFUSED],
    ['endless recursion', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}', REFUSED],
    ['much text', "{{ 'word ' * 200000 }}", REFUSED],
  ]
  it.each(drawn('hostile templates', cases, 3))('%s', async (_, source, sentence) => {
    await expect(templateOf(source).render(messages, options)).rejects.toMatchObject({
      code: 'template-failed',
      message: expect.stringMatching(sentence),
    })
  })

  it.each(['{'.repeat(9999), `{{ ${'('.repeat(50_000)}`, '{% if x %}'.repeat(20_000), `{{ ${'-'.repeat(50_000)}x }}`])(
    'when it is read: %#',
    async (source) => {
      await expect(templateOf(source).render(messages, options)).rejects.toMatchObject({
        code: 'malformed-template',
        message: expect.stringMatching(/^The chat template of m cannot be read: .*\.$/),
      })
    },
  )
})

describe('a renderer', () => {
  const plain = templateOf('{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}')

  it('answers each of many requests, whichever of them ends its process', async () => {
    const endless = templateOf('{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}')
    const asked = Array.from({ length: 100 }, (_, i) =>
      (i === 40 ? endless : plain).render([{ role: 'user', content: String(i) }], options),
    )
    const answers = await Promise.allSettled(asked)
    expect(answers.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []))).toEqual([40])
    for (const [i, answer] of answers.entries()) if (i !== 40) expect(answer).toMatchObject({ value: `<s>[${i}]` })
  })

  it('accepts all values of JSON, with numbers as written', async () => {
    const template = templateOf('{{ messages[0].arguments | tojson }}')
    const given = { whole: Object(2), wide: 12345678901234567890n, keys: new Map([['2', null]]) }
    expect(await template.render([{ role: 'user', arguments: given }], options)).toBe(
      '{"whole": 2.0, "wide": 12345678901234567890, "keys": {"2": null}}',
    )
  })

  it('refuses values that are not data, and too deep nesting', async () => {
    const send = (value: unknown) => plain.render([{ role: 'user', content: '', value }], options)
    await expect(send(() => {})).rejects.toThrow(
      /^The chat template of m cannot be given this conversation: .* not data/,
    )
    let deep: unknown = 1
    for (let i = 0; i < 50_000; i++) deep = [deep]
    await expect(send(deep)).rejects.toThrow(/cannot be given this conversation: it nests too deep\.$/)
    expect(await plain.render(messages, options)).toBe('<s>[hi][hello]')
  })
})

describe('the process of a renderer', () => {
  const lib = fileURLToPath(new URL('../../../dist/text/template.js', import.meta.url))

  /** Runs a program that renders a template, until it says that it has. */
  async function program(code: string) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    return { child, said: String(line).trim() }
  }
  const start = (source: string) => `
    import { readFileSync } from 'node:fs'
    import { ChatTemplate } from ${JSON.stringify(lib)}
    const template = new ChatTemplate({ source: ${JSON.stringify(source)}, specialTokens: {}, origin: 'm' })
    const rendering = template.render([], { addGenerationPrompt: false })
    const children = () => readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim()`
  const isThere = (pid: number): boolean => {
    try {
      return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
    } catch {
      return false
    }
  }
  const isGone = async (pid: number): Promise<boolean> => {
    for (let i = 0; i < 300 && isThere(pid); i++) await new Promise((resolve) => setTimeout(resolve, 50))
    return !isThere(pid)
  }

  it('does not keep a program alive', async () => {
    const { child, said } = await program(`${start('yes')}; console.log(await rendering)`)
    expect(said).toBe('yes')
    const [code] = (await once(child, 'exit')) as [number]
    expect(code).toBe(0)
  })

  it.each(['SIGTERM', 'SIGKILL'] as const)('ends with a program that %s ends, also amid a template', async (signal) => {
    const endless = `${pattern}{{ p in 'a' * (8 * n) }}`
    const { child, said } = await program(`${start(endless)}; rendering.catch(() => {}); console.log(children())`)
    expect(isThere(Number(said))).toBe(true)
    child.kill(signal)
    const [, by] = (await once(child, 'exit')) as [null, string]
    expect(by).toBe(signal)
    expect(await isGone(Number(said))).toBe(true)
  })
})
