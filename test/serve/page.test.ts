/** The page to try models: over HTTP, and in a real browser. */
import { execFile } from 'node:child_process'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { GenerateOptions } from '../../lib/generate/index.js'
import type { Model } from '../../lib/models/index.js'
import type { ServeOptions } from '../../lib/serve/index.js'
import { chromiumPath, useChromium, violations } from '../dashboard/chromium.js'
import { drawnTests } from '../drawn.js'
import { lack, needing } from '../needs.js'
import { addRandomAdapter, IDLE, NAME, script, startServer, tinyModel, watchTexts } from './tiny-server.js'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')
const ADAPTER = 'a<b>'

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
beforeAll(async () => {
  tiny = await tinyModel()
  await addRandomAdapter(tiny, ADAPTER, 1)
})
afterEach(async () => {
  await server.close()
  expect(await server.load()).toEqual(IDLE)
  expect(server.errors).toEqual([])
})
afterAll(() => tiny.dispose())

async function start(options: ServeOptions = {}): Promise<string> {
  server = await startServer(tiny, { page: true, ...options })
  return `${server.origin}${options.basePath ?? ''}/`
}

describe('GET /', () => {
  it('is a page that runs its own scripts and asks its own server only, where it is asked for', async () => {
    const response = await fetch(await start())
    const policy = response.headers.get('content-security-policy')!
    expect(policy).toMatch(
      /^default-src 'none'; script-src 'sha256-[^ ]+'; style-src ('sha256-[^ ]+' ?){4}; img-src data:; /,
    )
    expect(policy).toMatch(/connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'cross-origin-resource-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
    })
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
    expect(await response.text()).not.toMatch(/(?:src|href)="(?!data:|#)/)
    const posted = await server.post('/', {})
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET'])
    await server.close()
    await start({ page: false })
    expect((await fetch(server.origin)).status).toBe(404)
  })

  it.each(['/llm', '/llm/'])('is at %s with that base path, and changes no other route', async (path) => {
    await start({ basePath: '/llm' })
    const statusOf = async (at: string) => (await fetch(`${server.origin}${at}`)).status
    expect(await statusOf(path)).toBe(200)
    expect(await Promise.all(['/llm/health', '/llm/v1/models', '/', '/llm/assets/chat.js'].map(statusOf))).toEqual([
      200, 200, 404, 404,
    ])
  })

  it('needs no key, unlike what it asks for', async () => {
    const url = await start({ apiKeys: ['sk-page'] })
    expect([(await fetch(url)).status, (await fetch(`${url}v1/models`)).status]).toEqual([200, 401])
  })

  it('is refused under a name that only leads here', async () => {
    const { port } = new URL(await start())
    const status = await new Promise((resolve) => {
      const headers = { host: 'evil.example' }
      request({ host: '127.0.0.1', port, path: '/', headers }, ({ statusCode }) => resolve(statusCode)).end()
    })
    expect(status).toBe(403)
  })
})

/** The visible text of an element, in one line. */
const read = async (place: Locator) => (await place.allInnerTexts()).join(' ').replace(/\s+/g, ' ').trim()

needing(lack('Chromium', chromiumPath)).describe('the page in Chromium', () => {
  const visit = useChromium()
  const next = drawnTests('the page of mora serve in Chromium', 8, 1)
  const asked = watchTexts()
  beforeEach(() => void asked.mockClear())

  /** Calls of the server's engine with an adapter, or with the base. */
  const callsOf = (adapter?: string) =>
    asked.mock.calls.map(([call]) => call).filter(({ adapters }) => String(adapters ?? '') === (adapter ?? ''))
  const say = (...pieces: string[]) => pieces.map((text) => ({ text }))
  const message = (page: Page) => page.getByRole('textbox', { name: 'Message' })
  const answers = (page: Page, model: string) =>
    page.locator('article', { has: page.getByRole('heading', { name: model, exact: true }) })
  const eventually = (place: Locator) => expect.poll(() => read(place), { timeout: 15_000 })
  /** Waits until every answer has ended. */
  const ended = (page: Page) => expect.poll(() => page.locator('[aria-busy]').count(), { timeout: 15_000 }).toBe(0)
  const nodesOf = async (page: Page) => {
    const devtools = await page.context().newCDPSession(page)
    const { nodes } = await devtools.send('Accessibility.getFullAXTree')
    return nodes.flatMap(({ ignored, role, name }) => (ignored ? [] : [`${role?.value}: ${name?.value}`]))
  }

  it('asks the chosen models side by side, by keyboard alone, and shows what they say as text', async () => {
    const evil = '<img src=x onerror="document.title=1"> **Hi**\n'
    script(({ adapters, messages = [] }: GenerateOptions) =>
      adapters?.length ? say(evil, 'second line. ', `${messages.length}`) : say('The base says this.'),
    )
    const url = await start()
    const { page, complaints, requests } = await visit(url)
    await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('message')
    expect(await page.getByRole('checkbox', { checked: true }).count()).toBe(2)
    await page.keyboard.type('Hello')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('there')
    await page.keyboard.press('Enter')
    await ended(page)
    expect(await answers(page, ADAPTER).locator('.text:visible').textContent()).toBe(`${evil}second line. 1`)
    expect(await read(answers(page, NAME).locator('.text:visible'))).toBe('The base says this.')
    expect(callsOf(ADAPTER).map(({ messages }) => messages)).toEqual([[{ role: 'user', content: 'Hello\nthere' }]])
    expect(await page.locator('main img').count()).toBe(0)
    expect(await page.title()).toBe('mora')
    // In sentences, and for each model by its name.
    const told = await page.locator('#log p').allInnerTexts()
    expect(told[0]).toBe('Waiting for 2 answers.')
    expect(told.slice(1).toSorted()).toEqual(
      [`${ADAPTER}: ${evil}second line. 1`, `${NAME}: The base says this.`]
        .map((text) => text.replace('\n', ' '))
        .toSorted(),
    )

    // The focus has stayed, and each goes on with its own words.
    await page.getByRole('textbox', { name: 'System prompt' }).fill('Be brief.')
    await page.getByRole('checkbox', { name: NAME }).uncheck()
    expect(new URL(page.url()).hash).toBe(`#${encodeURIComponent(ADAPTER)}`)
    await message(page).focus()
    await page.keyboard.type('And?')
    await page.keyboard.press('Enter')
    await eventually(answers(page, ADAPTER).last()).toContain('second line. 4')
    await ended(page)
    expect(
      callsOf(ADAPTER)
        .at(-1)
        ?.messages?.map(({ role, content }) => [role, content]),
    ).toEqual([
      ['system', 'Be brief.'],
      ['user', 'Hello\nthere'],
      ['assistant', `${evil}second line. 1`],
      ['user', 'And?'],
    ])
    expect(callsOf()).toHaveLength(1)

    expect(await nodesOf(page)).toEqual(
      expect.arrayContaining([
        'main: ',
        'heading: Turn 2',
        `article: ${ADAPTER}, answer 3`,
        `checkbox: ${ADAPTER}`,
        'spinbutton: Temperature',
        'textbox: Message',
        'button: Send',
        'log: Answers',
      ]),
    )
    expect(complaints).toEqual([])
    expect(requests.filter((one) => !one.startsWith(url) && !one.startsWith('data:'))).toEqual([])
  })

  it('asks for the key, keeps it to itself, and stops an answer with Escape', async () => {
    let go = () => {}
    const held = new Promise<void>((resolve) => {
      go = resolve
    })
    script(
      () => say('First.', ' Never.'),
      (index) => (index === 1 ? held : Promise.resolve()),
    )
    const url = await start({ apiKeys: ['sk-page'], adapters: [] })
    const { page, requests } = await visit(url)
    const key = page.getByRole('textbox', { name: 'API key' })
    for (const [given, said] of [
      ['sk-other', 'The API key is wrong.'],
      ['sk-page', ''],
    ] as const) {
      await key.fill(given)
      await page.keyboard.press('Enter')
      await eventually(page.locator('#key-problem')).toBe(said)
    }
    await message(page).fill('Hello')
    await page.keyboard.press('Enter')
    await eventually(page.locator('article .text:visible')).toBe('First.')
    expect(await page.getByRole('button', { name: 'Stop' }).isVisible()).toBe(true)
    await page.keyboard.press('Escape')
    await ended(page)
    go()
    expect(await read(page.locator('article .note').first())).toBe('stopped')
    expect(await page.getByRole('button', { name: 'Stop' }).isVisible()).toBe(false)
    expect(page.url()).toBe(url)
    expect(requests.join()).not.toContain('sk-page')
    await page.getByText('As code').click()
    await page.locator('pre').first().waitFor()
    expect(await page.locator('pre').allInnerTexts()).toEqual([
      expect.stringContaining('Bearer $LLM_KEY'),
      expect.stringContaining('process.env.LLM_KEY'),
    ])
    expect(await page.evaluate('JSON.stringify([{ ...sessionStorage }, { ...localStorage }])')).toBe('[{},{}]')
    expect(await page.content()).not.toContain('sk-page')
  })

  next().it('sends sampling, tools and a schema, and says what is wrong with them before', async () => {
    script(() => say('{}'))
    const { page, requests } = await visit(await start({ adapters: [] }))
    const bodies: unknown[] = []
    page.on('request', (one) => void bodies.push(one.postDataJSON()))
    for (const [name, value] of [
      ['Temperature', '0.5'],
      ['Top p', '0.9'],
      ['Max tokens', '12'],
      ['Seed', '7'],
    ] as const)
      await page.getByRole('spinbutton', { name }).fill(value)
    await page.getByText('Tools and schema').click()
    const [tools, schema] = ['Tools, a JSON list', 'JSON schema of the answer'].map((name) =>
      page.getByRole('textbox', { name }),
    )
    await tools!.fill('{')
    await page.getByText('Tools and schema').click()
    await message(page).fill('Hello')
    await page.keyboard.press('Enter')
    await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('tools')
    expect(await page.evaluate('document.activeElement.validationMessage')).toMatch(/^Expected a JSON list of tools: /)
    expect(await message(page).inputValue()).toBe('Hello')
    expect(requests.filter((one) => one.endsWith('/chat/completions'))).toEqual([])
    const listed = [{ type: 'function', function: { name: 'clock', parameters: { type: 'object' } } }]
    await tools!.fill(JSON.stringify(listed))
    await schema!.fill('{"type": "object"}')
    await message(page).focus()
    await page.keyboard.press('Enter')
    await ended(page)
    expect(bodies).toEqual([
      {
        model: NAME,
        messages: [{ role: 'user', content: 'Hello' }],
        temperature: 0.5,
        top_p: 0.9,
        max_tokens: 12,
        seed: 7,
        tools: listed,
        response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: { type: 'object' } } },
        stream: true,
        stream_options: { include_usage: true },
      },
    ])
    expect(await read(page.locator('article .text:visible'))).toBe('{}')
  })

  next().it('gives calls to their writer, and their results to the model', async () => {
    const call = { name: 'clock', arguments: { zone: 'UTC' }, argumentsText: '{"zone": "UTC"}' }
    script(({ messages = [] }: GenerateOptions) =>
      messages.at(-1)?.role === 'tool' ? say('Noon.') : [{ text: '', toolCalls: [call] }],
    )
    const { page } = await visit(await start({ adapters: [] }))
    await page.getByText('Tools and schema').click()
    const tools = [{ type: 'function', function: { name: 'clock' } }]
    await page.getByRole('textbox', { name: 'Tools, a JSON list' }).fill(JSON.stringify(tools))
    await message(page).fill('What time is it?')
    await page.keyboard.press('Enter')
    await eventually(page.locator('.calls')).toBe('clock({"zone": "UTC"})')
    await page.getByRole('textbox', { name: 'Result of clock' }).fill('12:00')
    await page.getByRole('button', { name: 'Send results' }).click()
    await eventually(page.locator('article').last()).toContain('Noon.')
    const [, second] = asked.mock.calls.map(([{ messages = [] }]) =>
      messages.map(({ role, content }) => [role, content]),
    )
    expect(second).toEqual([
      ['user', 'What time is it?'],
      ['assistant', ''],
      ['tool', '12:00'],
    ])
  })

  next().it('tells the probabilities of tokens, and gives code that repeats the request', async () => {
    script(() => say(' The', ' end', '.'))
    const { page } = await visit(await start())
    await page.getByRole('checkbox', { name: 'Token probabilities' }).check()
    await page.getByRole('checkbox', { name: NAME }).uncheck()
    await message(page).fill('It\'s 5 o\'clock\n"$HOME" `x` \\')
    await page.getByRole('button', { name: 'Send' }).click()
    await ended(page)
    await page.getByText('Tokens of').click()
    const rows = page.getByRole('table').getByRole('row')
    await expect.poll(() => rows.count()).toBe(4)
    // Log-probabilities of the script: -0.25 for each token, and -1, -2, -3 of others.
    expect(await read(rows.nth(1))).toBe('" The" 77.9 % "!" 36.8 %, " " 13.5 %, "�" 5.0 %')

    await page.getByText('As code').click()
    await page.locator('pre').first().waitFor()
    const [curl, program] = await page.locator('pre').allInnerTexts()
    const ran = await Promise.all([
      run('bash', ['-c', curl!]),
      run(process.execPath, ['--input-type=module', '-e', program!], { cwd: root }),
    ])
    expect(JSON.parse(ran[0].stdout).choices[0].message.content).toBe(' The end.')
    expect(ran[1].stdout).toContain("content: ' The end.'")
    const [first, ...others] = asked.mock.calls.map(([{ messages, adapters, logprobs }]) => ({
      messages,
      adapters,
      logprobs,
    }))
    expect(others).toEqual([first, first])
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.getByRole('button', { name: 'Copy as curl' }).click()
    await eventually(page.locator('article [role="status"]').first()).toBe('Copied.')
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(curl)
  })

  next().it('has an order of the focus, which is always seen', async () => {
    script(() => say('Yes.'))
    const { page } = await visit(await start({ adapters: [] }))
    await message(page).fill('Hello')
    await page.keyboard.press('Enter')
    await ended(page)
    // Nothing moves that somebody might not want to move.
    expect(await page.evaluate('document.getAnimations().length')).toBe(0)
    await page.locator('.skip').focus()
    const stops: string[] = []
    while (stops.at(-1) !== 'New conversation') {
      await page.keyboard.press('Tab')
      const { name, seen } = await page.evaluate<{ name: string; seen: boolean }>(`(() => {
        const active = document.activeElement
        const { outlineStyle } = getComputedStyle(active)
        const name = (active.labels?.[0] ?? active).innerText.replace(/\\s+/g, ' ').trim()
        return { name, seen: outlineStyle !== 'none' }
      })()`)
      expect(seen, name).toBe(true)
      stops.push(name)
    }
    expect(stops).toEqual([
      ...['Dark', NAME, 'System prompt', 'Temperature', 'Top p', 'Max tokens', 'Seed'],
      ...['Continue the message, without a template', 'Token probabilities', 'Tools and schema'],
      ...[`As code of ${NAME}, answer 1`, 'Message', 'Send', 'New conversation'],
    ])
    await page.locator('.skip').focus()
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('message')
  })

  next().it('continues a text without a template', async () => {
    script(() => say(' upon', ' a time'))
    const { page } = await visit(await start({ adapters: [] }))
    for (const name of ['Continue the message, without a template', 'Token probabilities'])
      await page.getByRole('checkbox', { name }).check()
    for (const text of ['Once', 'Twice']) {
      await message(page).fill(text)
      await page.keyboard.press('Enter')
      await ended(page)
    }
    expect(asked.mock.calls.map(([{ prompt, messages, logprobs }]) => ({ prompt, messages, logprobs }))).toEqual([
      { prompt: 'Once', messages: undefined, logprobs: true },
      { prompt: 'Twice', messages: undefined, logprobs: true },
    ])
    const answer = page.locator('article').last()
    await answer.getByText('Tokens of').click()
    await expect.poll(() => answer.getByRole('row').allInnerTexts()).toHaveLength(3)
    await answer.getByText('As code').click()
    await answer.locator('pre').first().waitFor()
    const [curl, program] = await answer.locator('pre').allInnerTexts()
    const { stdout } = await run('bash', ['-c', curl!])
    expect(JSON.parse(stdout).choices[0].text).toBe(' upon a time')
    const ran = await run(process.execPath, ['--input-type=module', '-e', program!], { cwd: root })
    expect(ran.stdout).toBe(' upon a time\n')
  })

  next().it('says what the server refuses, and begins anew', async () => {
    script(() => say('Yes.'))
    const { page } = await visit(await start({ adapters: [] }))
    await page.getByRole('spinbutton', { name: 'Max tokens' }).fill('5')
    await message(page).fill('word '.repeat(2_000))
    await page.keyboard.press('Enter')
    await eventually(page.locator('article .problem')).toMatch(/\d+/)
    await expect.poll(() => message(page).inputValue()).toBe('word '.repeat(2_000))
    await message(page).fill('Again')
    await page.keyboard.press('Enter')
    await eventually(page.locator('article').last()).toContain('Yes.')
    await ended(page)
    expect(asked.mock.calls.at(-1)?.[0].messages).toEqual([{ role: 'user', content: 'Again' }])
    await page.getByRole('button', { name: 'New conversation' }).click()
    expect(await page.locator('article').count()).toBe(0)
    expect(await page.evaluate('document.activeElement.id')).toBe('message')
    await server.close()
    await message(page).fill('Anybody?')
    await page.keyboard.press('Enter')
    await eventually(page.locator('article .problem')).toMatch(/^The server at .* does not answer\.$/)
  })

  next().it('cannot be framed, run or read by another page, which cannot ask its server either', async () => {
    const url = await start()
    const other = createServer((_, response) => {
      response.setHeader('content-type', 'text/html')
      response.end(`<main><h1>Other</h1><iframe src="${url}"></iframe><script src="${url}"></script></main>`)
    })
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    try {
      const { page } = await visit(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`)
      const body = JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }] })
      const outcomes = await page.evaluate(
        async ([url, body]) => {
          const outcomeOf = (path: string, init: RequestInit) =>
            fetch(`${url}${path}`, init).then(
              ({ type, status }) => `${type} ${status}`,
              () => 'refused',
            )
          const json = { 'content-type': 'application/json' }
          return [
            await outcomeOf('', {}),
            await outcomeOf('', { mode: 'no-cors' }),
            await outcomeOf('v1/models', {}),
            await outcomeOf('v1/chat/completions', { method: 'POST', body, headers: json }),
            await outcomeOf('v1/chat/completions', { method: 'POST', body, mode: 'no-cors' }),
          ]
        },
        [url, body] as const,
      )
      // The last one arrives as plain text, which the server does not read.
      expect(outcomes).toEqual(['refused', 'refused', 'refused', 'refused', 'opaque 0'])
      expect(asked.mock.calls).toEqual([])
      const frame = page.frames().find((one) => one.parentFrame() !== null)!
      expect(await frame.locator('h1', { hasText: 'Chat' }).count()).toBe(0)
    } finally {
      other.closeAllConnections()
      other.close()
    }
  })

  next().it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 390],
  ] as const)('meets the accessibility guidelines: %s, %i wide', async (colorScheme, width) => {
    script(() => say('<long>'.repeat(200), ' end.'))
    const { page } = await visit(await start(), { colorScheme, viewport: { width, height: 800 } })
    await page.getByRole('checkbox', { name: 'Token probabilities' }).check()
    await message(page).fill('Hello')
    await page.keyboard.press('Enter')
    await ended(page)
    for (const summary of await page.locator('summary:visible').all()) await summary.click()
    // Two answers, each with two pieces of code.
    await expect.poll(() => page.locator('pre:visible').count()).toBe(4)
    expect(await violations(page)).toEqual([])
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    expect(overflow).toBe(0)
  })
})
