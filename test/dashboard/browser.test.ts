/** The page in a real browser: what a person sees, hears and presses. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Locator, Page } from 'playwright-core'
import { afterEach, expect, it } from 'vitest'
import { writeReport } from '../../lib/dashboard/report.js'
import { serveDashboard } from '../../lib/dashboard/serve.js'
import { drawnTests } from '../drawn.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, needing } from '../needs.js'
import { chromiumPath, useChromium, violations } from './chromium.js'
import { appendMetrics, evaluationLine, stepLine, stepLines, writeRun } from './run-folders.js'

/** Points of a metric's chart in the first run's colour, the only one in which blue prevails. */
function inkOf(page: Page, metric: string): Promise<number> {
  return page.evaluate<number>(`(() => {
    const canvas = document.querySelector('[data-metric="${metric}"] canvas')
    const { width, height } = canvas
    const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })
    copy.drawImage(canvas, 0, 0)
    const { data } = copy.getImageData(0, 0, width, height)
    return data.filter((_, i) => i % 4 === 2 && data[i + 1] > 128 && data[i] > data[i - 2] + 60).length
  })()`)
}

/** The visible text of an element, in one line. */
const read = async (place: Locator) => (await place.allInnerTexts()).join(' ').replace(/\s+/g, ' ').trim()

/** Waits until the text is visible there. */
const eventually = (place: Locator) => expect.poll(() => read(place), { timeout: 15_000 })

needing(lack('Chromium', chromiumPath)).describe('the dashboard in Chromium', () => {
  const folder = useTemporaryFolder()
  const visit = useChromium()
  let dashboard: Awaited<ReturnType<typeof serveDashboard>> | null = null
  afterEach(async () => {
    await dashboard?.close()
    dashboard = null
  })

  async function serve(port = 0): Promise<string> {
    dashboard = await serveDashboard({ folder: folder(), host: '127.0.0.1', port })
    return dashboard.url
  }

  function writeTwoRuns() {
    const samples = [0, 20].map((step) => ({ step, prompt: 'What is 2 + 2?', text: `answer of step ${step}` }))
    const options = (method: string) => ({ model: 'base', method, rank: 8, maxSteps: 40, learningRate: 1e-3 })
    const metrics = [...stepLines(1, 20), evaluationLine(10, 2.2), evaluationLine(20, 1.9)]
    const first = writeRun(folder(), 'first', {
      options: options('mora'),
      metrics,
      samples,
      locked: true,
      checkpoints: [20],
    })
    const second = writeRun(folder(), 'second', { options: options('lora'), metrics: stepLines(1, 30), card: true })
    for (const run of [first, second]) writeFileSync(join(run, 'adapter_config.json'), '{}')
    return first
  }

  const chart = (page: Page, title: string) =>
    page.locator('figure', { has: page.getByRole('heading', { name: title, exact: true }) })
  const values = (page: Page) => page.locator('.values')
  /** The rows of the latest values, each as its cells by the titles of their columns. */
  const readValues = async (page: Page) => {
    const titles = await values(page).locator('thead th').allInnerTexts()
    const rows = await values(page).locator('tbody tr').all()
    const cells = await Promise.all(rows.map((row) => row.locator('th, td').allInnerTexts()))
    const line = (text: string) => text.replace(/\s+/g, ' ').trim()
    return cells.map((row) => Object.fromEntries(row.map((text, i) => [line(titles[i]!), line(text)])))
  }
  /** Waits until a value of the only run is visible there. */
  const eventuallyLatest = (page: Page, title: string) =>
    expect.poll(async () => (await readValues(page))[0]?.[title], { timeout: 15_000 })

  const next = drawnTests('the dashboard in Chromium', 16, 7)

  next().it('draws a run that goes on, and asks nothing but its own server', async () => {
    const first = writeTwoRuns()
    const url = await serve()
    const { page, complaints, requests } = await visit(`${url}#first`)
    await eventuallyLatest(page, 'Loss').toContain('1.2000')
    expect(await read(page.getByRole('heading', { level: 1 }))).toBe('first')
    // 120 tokens a step at 1,001 to 1,020 tokens a second: 2.4 seconds
    expect(await read(page.locator('.course'))).toBe(
      'running Step 20 of 40 · epoch 2 · 2.4 s so far · about 2.4 s left · checkpoints at 20',
    )
    expect(await page.locator('figure:visible h3').allInnerTexts()).toEqual([
      'Loss',
      'Gradient norm',
      'Learning rate',
      'Tokens per second',
      'Peak memory',
    ])
    for (const metric of ['loss', 'memoryBytes']) expect(await inkOf(page, metric), metric).toBeGreaterThan(100)
    const drawn = await inkOf(page, 'loss')

    appendMetrics(first, [stepLine(21, { loss: 0.5 }), evaluationLine(21, 1.25)])
    await eventuallyLatest(page, 'Loss').toContain('0.5000')
    await eventuallyLatest(page, 'Evaluation loss').toBe('1.2500 lowest 1.2500 at 21')
    expect(await read(chart(page, 'Loss').locator('.reading'))).toBe(
      'Latest, step 21 training 0.5000 evaluation 1.2500',
    )
    expect(await inkOf(page, 'loss')).not.toBe(drawn)

    expect(complaints).toEqual([])
    expect(requests.filter((request) => !request.startsWith(url))).toEqual([])
    const later = requests.filter((request) => request.includes('known='))
    expect(later.length).toBeGreaterThan(0)
  })

  next().it('compares two runs: curves, values, configuration and samples', async () => {
    writeTwoRuns()
    const { page, complaints } = await visit(`${await serve()}#first`)
    await page.getByRole('checkbox', { name: 'Compare second' }).check()
    expect(await read(page.getByRole('heading', { level: 1 }))).toBe('2 runs compared')
    const readings = chart(page, 'Loss').locator('.readings')
    await eventually(readings).toBe('first training 1.2000 evaluation 1.9000 second training 1.1333')
    await eventuallyLatest(page, 'method').toBe('mora')
    expect(await readValues(page)).toMatchObject([
      {
        Run: 'first running',
        method: 'mora',
        Step: '20 of 40',
        Loss: '1.2000 lowest 1.2000 at 20',
        'Time left': '2.4 s',
      },
      { Run: 'second stopped', method: 'lora', Step: '30 of 40', 'Evaluation loss': '–', 'Time left': '–' },
    ])
    // By a column, and the other way round.
    const order = async () => (await readValues(page)).map(({ Run }) => Run!.split(' ')[0])
    for (const expected of [
      ['second', 'first'],
      ['first', 'second'],
    ]) {
      await values(page).getByRole('button', { name: 'Loss', exact: true }).click()
      expect(await order()).toEqual(expected)
    }
    expect(await values(page).locator('[aria-sort]').getAttribute('aria-sort')).toBe('descending')

    // The configuration shows the differences, and all of it on request.
    const configuration = page.locator('.configuration')
    const method = configuration.getByRole('row', { name: /^method/ })
    expect(await read(method)).toMatch(/method ?differs mora lora/)
    expect(await configuration.getByRole('row', { name: /^rank/ }).count()).toBe(0)
    await page.getByRole('checkbox', { name: 'All options' }).check()
    expect(await configuration.getByRole('row', { name: /^rank/ }).count()).toBe(1)
    expect(await method.count()).toBe(1)
    expect(await read(page.locator('#samples'))).toMatch(/What is 2 \+ 2\? Step 20 answer of step 20 Earlier \(1\)/)
    expect(await read(page.locator('#try pre'))).toBe(
      `mora serve --model base --adapter first=${folder()}/first --adapter second=${folder()}/second`,
    )
    expect(await page.locator('#try a').getAttribute('href')).toBe('http://127.0.0.1:8080/#first&second')
    // The address names both, so that it can be kept.
    expect(new URL(page.url()).hash).toBe('#first&second')
    await page.reload()
    expect(await page.getByRole('checkbox', { name: 'Compare second' }).isChecked()).toBe(true)
    await page.goBack()
    await eventually(page.getByRole('heading', { level: 1 })).toBe('first')
    expect(complaints).toEqual([])
  })

  next().it('is light or dark as the system says, until the switch says otherwise', async () => {
    writeTwoRuns()
    const url = await serve()
    const { page } = await visit(`${url}#first`, { colorScheme: 'dark' })
    const ground = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
    const dark = await ground()
    const toggle = page.getByRole('button', { name: 'Dark' })
    expect(await toggle.getAttribute('aria-pressed')).toBe('true')
    await toggle.click()
    const light = await ground()
    expect(light).not.toBe(dark)
    await page.reload()
    expect([await ground(), await toggle.getAttribute('aria-pressed')]).toEqual([light, 'false'])
    await toggle.click()
    expect(await ground()).toBe(dark)
    await page.emulateMedia({ colorScheme: 'light' })
    expect(await ground()).toBe(light)
  })

  next().it('can be used with the keyboard, and shows the focus', async () => {
    writeTwoRuns()
    const { page } = await visit(`${await serve()}#first`)
    await chart(page, 'Loss').locator('canvas').waitFor()
    const focused = () =>
      page.evaluate<{ name: string; seen: boolean }>(`(() => {
        const active = document.activeElement
        const { outlineStyle, outlineWidth } = getComputedStyle(active)
        const name = active.ariaLabel ?? (active.labels?.[0] ?? active).innerText
        return { name: name.replace(/\\s+/g, ' ').trim(), seen: outlineStyle !== 'none' && outlineWidth !== '0px' }
      })()`)
    const names: string[] = []
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab')
      const { name, seen } = await focused()
      expect(seen, name).toBe(true)
      names.push(name)
      if (name.startsWith('Configuration') || name === '') break
    }
    expect(names.slice(0, 2)).toEqual(['Skip to the charts', 'Dark'])
    for (const name of [
      'first running',
      'Compare second',
      'Loss, chart. first, loss: 1.2000 at step 20; first, evaluation loss: 1.9000',
      'Table of Peak memory',
    ]) {
      expect(
        names.find((one) => one.startsWith(name)),
        `${name} in ${names.join(', ')}`,
      ).toBeDefined()
    }

    await page.locator('.skip').focus()
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('main')
    expect(new URL(page.url()).hash).toBe('#first')

    const loss = chart(page, 'Loss')
    await loss.locator('.plot').focus()
    const reading = () => read(loss.locator('.reading'))
    await page.keyboard.press('Home')
    expect(await reading()).toMatch(/^Step 1 training 5\.0000 evaluation –$/)
    await page.keyboard.press('ArrowRight')
    expect(await reading()).toMatch(/^Step 2 training 3\.0000 /)
    expect(await read(chart(page, 'Gradient norm').locator('.reading'))).toMatch(/^Step 2 1\.0000$/)
    expect(await loss.locator('.reading').getAttribute('aria-live')).toBe('polite')
    await page.keyboard.press('Shift+ArrowRight')
    await page.keyboard.press('ArrowLeft')
    expect(await reading()).toMatch(/^Step 11\s/)
    // Plus zooms to half of the steps, minus back to all of them.
    await page.keyboard.press('+')
    expect(await page.getByRole('button', { name: 'Show all' }).isVisible()).toBe(true)
    await page.keyboard.press('Home')
    expect(await reading()).toMatch(/^Step 7\s/)
    await page.keyboard.press('-')
    expect(await page.getByRole('button', { name: 'Show all' }).isVisible()).toBe(false)
    await page.keyboard.press('Escape')
    expect(await reading()).toMatch(/^Latest, step 20\s/)
    expect(await read(chart(page, 'Gradient norm').locator('.reading'))).toMatch(/^Latest, step 20 /)

    await loss.locator('summary').focus()
    await page.keyboard.press('Enter')
    const rows = loss.getByRole('row')
    await eventually(rows.first()).toMatch(/Step first, training first, evaluation/)
    expect(await read(rows.last())).toMatch(/20 1\.2000 1\.9000/)
    expect(await rows.count()).toBe(21)
  })

  next().it('zooms into some steps in all charts, and back out', async () => {
    writeTwoRuns()
    const { page } = await visit(`${await serve()}#second`)
    const plot = chart(page, 'Loss').locator('.u-over')
    const { x, y, width } = (await plot.boundingBox())!
    await page.mouse.move(x + width / 2, y + 50)
    await page.mouse.down()
    await page.mouse.move(x + width - 5, y + 60, { steps: 4 })
    await page.mouse.up()
    const other = chart(page, 'Learning rate').locator('.plot')
    await other.focus()
    await page.keyboard.press('Home')
    const first = Number(/^Step (\d+)/.exec(await read(chart(page, 'Learning rate').locator('.reading')))![1])
    expect(first).toBeGreaterThan(10)
    await page.getByRole('button', { name: 'Show all' }).click()
    expect(await page.getByRole('button', { name: 'Show all' }).isVisible()).toBe(false)
    expect(await page.evaluate('document.activeElement.id')).toBe('charts-title')
    await other.focus()
    await page.keyboard.press('Home')
    expect(await read(chart(page, 'Learning rate').locator('.reading'))).toMatch(/^Step 1\s/)
  })

  next().it('smooths noisy curves, and draws by powers of ten', async () => {
    writeTwoRuns()
    const { page, complaints } = await visit(`${await serve()}#first`)
    await eventually(chart(page, 'Loss').locator('.reading')).toContain('1.2000')
    await page.getByRole('slider', { name: 'Smoothing' }).fill('0.9')
    expect(await read(chart(page, 'Loss').locator('.reading'))).not.toContain('1.2000')
    const before = await inkOf(page, 'loss')
    await page.getByRole('checkbox', { name: 'Logarithmic' }).check()
    expect(await inkOf(page, 'loss')).not.toBe(before)
    expect(complaints).toEqual([])
  })

  next().it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 390],
  ] as const)('meets the accessibility guidelines: %s, %i wide', async (colorScheme, width) => {
    const first = writeTwoRuns()
    appendMetrics(first, [stepLine(21, { loss: 99 })])
    const { page } = await visit(`${await serve()}#first&second`, { colorScheme, viewport: { width, height: 800 } })
    await page.locator('.problems li').waitFor()
    const toggle = page.locator('#runs-toggle:visible')
    for (const button of await toggle.all()) await button.click()
    for (const summary of await page.locator('summary:visible').all()) await summary.click()
    expect(await violations(page)).toEqual([])
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    expect(overflow).toBe(0)
  })

  next().it('draws over tokens and time, and says what is unknown of a run', async () => {
    writeTwoRuns()
    const foreign = stepLines(1, 5).map((line) => ({ ...line, tokens: undefined }))
    writeRun(folder(), 'foreign', { metrics: foreign })
    const { page, complaints } = await visit(`${await serve()}#first&foreign`)
    await eventually(chart(page, 'Loss').locator('.readings')).toMatch(/foreign/)
    const axis = page.getByRole('combobox', { name: 'Over' })
    await axis.selectOption('Tokens')
    expect(await read(chart(page, 'Loss').locator('.reading'))).toBe(
      'Latest, tokens 2,400 training 1.2000 evaluation 1.9000',
    )
    expect(await inkOf(page, 'loss')).toBeGreaterThan(100)
    expect(await read(page.locator('#charts-note'))).toBe('Not drawn, since tokens is not known: foreign.')
    await axis.selectOption('Time')
    expect(await read(chart(page, 'Gradient norm').locator('.reading'))).toBe('Latest, time 2.4 s 0.1000')
    await axis.selectOption('Epoch')
    expect(await read(chart(page, 'Loss').locator('.reading'))).toMatch(/^Latest, epoch 2 first .* foreign /)
    expect(complaints).toEqual([])
  })

  next().it('has a chart for each metric of the user, which comes when the metric does', async () => {
    const first = writeTwoRuns()
    const { page, complaints } = await visit(`${await serve()}#first&second`)
    await chart(page, 'Loss').locator('canvas').waitFor()
    const evil = '<b>accuracy</b>'
    appendMetrics(first, [{ step: 20, time: '2026-01-01T00:00:00Z', [evil]: 0.25 }, stepLine(21, { reward: -3 })])
    await eventually(chart(page, evil).locator('.reading')).toBe('Latest, step 20 0.2500')
    await eventually(chart(page, 'reward').locator('.reading')).toBe('Latest, step 21 -3.0000')
    expect(await readValues(page)).toMatchObject([{ [evil]: '0.2500', reward: '-3.0000' }, { [evil]: '–' }])
    // They stand next to the loss, and a run without them takes them away.
    expect((await page.locator('figure h3').allInnerTexts()).slice(0, 3)).toEqual(['Loss', evil, 'reward'])
    await page.getByRole('button', { name: /^second/ }).click()
    await expect.poll(() => chart(page, 'reward').count()).toBe(0)
    expect(complaints).toEqual([])
  })

  next().it('finds runs by words, compares all that it found, and says how many can be told apart', async () => {
    for (let i = 1; i <= 38; i++)
      writeRun(folder(), `run-${i}`, { options: { method: i % 2 ? 'mora' : 'lora' }, metrics: stepLines(1, 2) })
    const { page, complaints } = await visit(`${await serve()}#run-4`)
    const search = page.getByRole('searchbox')
    await search.fill('LORA run-1')
    expect(await page.getByRole('checkbox', { name: /^Compare run/ }).count()).toBe(5)
    await page.getByRole('button', { name: 'Compare all' }).click()
    await page.getByRole('heading', { level: 1, name: '5 runs compared' }).waitFor()
    expect(await read(page.locator('#runs-note'))).toBe('5 of 38 runs.')
    // A run keeps its look when another one goes.
    const lookOf = (name: string) => page.locator('#run-list li', { hasText: name }).getAttribute('data-number')
    const look = await lookOf('run-12')
    await page.getByRole('checkbox', { name: 'Compare run-10' }).uncheck()
    expect(await lookOf('run-12')).toBe(look)
    await search.fill('')
    await page.getByRole('button', { name: 'Compare all' }).click()
    await page.getByRole('heading', { level: 1, name: '36 runs compared' }).waitFor()
    expect(await read(page.locator('#runs-note'))).toMatch(/36 runs are compared at most: .* could not be told apart/)
    expect(await page.getByRole('checkbox', { name: 'Compare run-38' }).isDisabled()).toBe(true)
    await eventually(chart(page, 'Loss').locator('.reading')).toMatch(/and 28 more in the table$/)
    expect((await readValues(page)).filter(({ Loss }) => Loss === '3.0000 lowest 3.0000 at 2')).toHaveLength(36)
    expect(complaints).toEqual([])
  })

  next().it('works on a phone: nothing overflows, runs unfold, one finger reads values and two zoom', async () => {
    writeTwoRuns()
    const { page } = await visit(`${await serve()}#second`, { viewport: { width: 390, height: 800 }, hasTouch: true })
    await eventually(chart(page, 'Loss').locator('.reading')).toMatch(/^Latest, step 30/)
    const overflow = () => page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    expect(await overflow()).toBe(0)
    const box = page.getByRole('checkbox', { name: 'Compare first' })
    expect(await box.isVisible()).toBe(false)
    await page.getByRole('button', { name: 'Runs: 1 of 2' }).tap()
    await box.tap()
    await page.getByRole('heading', { level: 1, name: '2 runs compared' }).waitFor()
    await eventually(chart(page, 'Loss').locator('.reading')).toMatch(/first training/)
    expect(await overflow()).toBe(0)

    const plot = chart(page, 'Loss').locator('.u-over')
    await plot.scrollIntoViewIfNeeded()
    const { x, y, width } = (await plot.boundingBox())!
    const client = await page.context().newCDPSession(page)
    const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', ...places: number[]) =>
      client.send('Input.dispatchTouchEvent', {
        type,
        touchPoints: places.map((place, id) => ({ id, x: x + place * width, y: y + 50 })),
      })
    await touch('touchStart', 0.2)
    await touch('touchMove', 0.5)
    const reading = Number(/^Step (\d+)/.exec(await read(chart(page, 'Loss').locator('.reading')))![1])
    expect(reading).toBeGreaterThan(10)
    expect(reading).toBeLessThan(20)
    await touch('touchEnd')
    await touch('touchStart', 0.4, 0.6)
    await touch('touchMove', 0.1, 0.9)
    await touch('touchEnd')
    await page.getByRole('button', { name: 'Show all' }).tap()
    expect(await page.getByRole('button', { name: 'Show all' }).isVisible()).toBe(false)
  })

  next().it('announces the latest values politely', async () => {
    writeTwoRuns()
    const { page } = await visit(`${await serve()}#first`)
    const status = page.getByRole('status').filter({ hasText: 'running' })
    await status.waitFor({ state: 'attached' })
    expect(await read(status)).toBe('first: running, step 20 of 40, loss 1.2000')
  })

  next().it('says that there is no run yet, and shows the first one when it comes', async () => {
    const { page } = await visit(await serve())
    await page.getByText('This folder holds no run yet.').waitFor()
    expect(await violations(page)).toEqual([])
    const run = writeRun(folder(), 'first', { metrics: [], locked: true })
    await page.getByText('its first step is not done yet').waitFor()
    appendMetrics(run, stepLines(1, 2))
    await eventuallyLatest(page, 'Loss').toContain('3.0000')
  })

  next().it('says when its server is gone, and goes on when that is back', async () => {
    const first = writeTwoRuns()
    const url = await serve()
    const { port } = dashboard!
    const { page } = await visit(`${url}#first`)
    await page.getByText('Live', { exact: true }).waitFor()
    await dashboard!.close()
    await page.getByText('The dashboard does not answer').waitFor()
    appendMetrics(first, [stepLine(21, { loss: 0.25 })])
    await serve(port)
    await page.getByText('Live', { exact: true }).waitFor()
    await eventuallyLatest(page, 'Loss').toContain('0.2500')
  })

  it('shows what a run says as text, never as markup', async () => {
    const evil = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
    const name = '<img src=x onerror=alert(1)>'
    writeRun(folder(), name, {
      options: { [evil]: evil, method: evil },
      samples: [{ step: 0, prompt: evil, text: evil }],
    })
    const { page, complaints } = await visit(await serve())
    await page.getByRole('heading', { level: 1, name }).waitFor()
    await page.locator('.text', { hasText: evil }).waitFor()
    expect(await page.locator('img, main script, nav script').count()).toBe(0)
    expect(await page.title()).toBe(`${name} – mora`)
    expect(complaints).toEqual([])
  })

  next().it('shows a hundred thousand steps', async () => {
    writeRun(folder(), 'long', { metrics: stepLines(1, 100_000) })
    const { page, complaints } = await visit(await serve())
    await eventuallyLatest(page, 'Loss').toContain('1.0000')
    expect(await inkOf(page, 'tokensPerSecond')).toBeGreaterThan(100)
    expect(complaints).toEqual([])
  })

  next().it('is, as a report, one file that shows the same', async () => {
    writeTwoRuns()
    const output = join(folder(), 'report.html')
    await writeReport({ folder: folder(), output })
    const { page, complaints, requests } = await visit(`${pathToFileURL(output)}#first&second`)
    await page.getByText(/^Report of \d{4}-/).waitFor()
    expect(await read(page.getByRole('heading', { level: 1 }))).toBe('2 runs compared')
    expect(await inkOf(page, 'loss')).toBeGreaterThan(100)
    await page.getByRole('checkbox', { name: 'Compare first' }).uncheck()
    expect(await read(page.getByRole('heading', { level: 1 }))).toBe('second')
    expect(await violations(page)).toEqual([])
    expect(complaints).toEqual([])
    expect(requests.map((request) => request.replace(/#.*/, '').replace(/^data:.*/, 'data:'))).toEqual([
      String(pathToFileURL(output)),
      ...requests.slice(1).map(() => 'data:'),
    ])
  })
})
