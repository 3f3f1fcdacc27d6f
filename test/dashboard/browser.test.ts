/** The page in a real browser: what a person sees, hears and presses. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Locator, Page } from 'playwright-core'
import { afterEach, describe, expect, it } from 'vitest'
import { writeReport } from '../../lib/dashboard/report.js'
import { type Dashboard, serveDashboard } from '../../lib/dashboard/serve.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { chromiumPath, useChromium } from './chromium.js'
import { appendMetrics, evaluationLine, stepLine, stepLines, writeRun } from './run-folders.js'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe-core finds against the accessibility guidelines. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: AxeViolation[] }> } }
    interface AxeViolation {
      id: string
      nodes: { html: string; failureSummary: string }[]
    }
    const { violations } = await axe.run()
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`))
  })
}

/** Points of a metric's chart in the colour of the first run: blue prevails there, and nowhere else. */
function inkOf(page: Page, metric: string): Promise<number> {
  return page.evaluate<number>(`(() => {
    const canvas = document.querySelector('[aria-labelledby="chart-${metric}"] canvas')
    const { width, height } = canvas
    const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })
    copy.drawImage(canvas, 0, 0)
    const { data } = copy.getImageData(0, 0, width, height)
    return data.filter((_, i) => i % 4 === 2 && data[i + 1] > 128 && data[i] > data[i - 2] + 60).length
  })()`)
}

/** What a person reads there, in one line. */
const read = async (place: Locator) => (await place.allInnerTexts()).join(' ').replace(/\s+/g, ' ').trim()

/** Expects it to be read there sooner or later. */
const eventually = (place: Locator) => expect.poll(() => read(place), { timeout: 15_000 })

describe.skipIf(!chromiumPath)('the dashboard in Chromium', () => {
  const folder = useTemporaryFolder()
  const visit = useChromium()
  let dashboard: Dashboard | null = null
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
    const options = (method: string) => ({ method, rank: 8, maxSteps: 40, learningRate: 1e-3 })
    const metrics = [...stepLines(1, 20), evaluationLine(10, 2.2), evaluationLine(20, 1.9)]
    const first = writeRun(folder(), 'first', {
      options: options('mora'),
      metrics,
      samples,
      locked: true,
      checkpoints: [20],
    })
    writeRun(folder(), 'second', { options: options('lora'), metrics: stepLines(1, 30), card: true })
    return first
  }

  const chart = (page: Page, title: string) =>
    page.locator('figure', { has: page.getByRole('heading', { name: title, exact: true }) })
  const tile = (page: Page, name: string) =>
    page.locator('.tiles > div', { has: page.getByText(name, { exact: true }) }).first()

  it('draws a run that goes on, and asks nothing but its own server', async () => {
    const first = writeTwoRuns()
    const url = await serve()
    const { page, complaints, requests } = await visit(`${url}#first`)
    await eventually(tile(page, 'Loss')).toContain('1.2000')
    expect(await read(page.getByRole('heading', { level: 1 }))).toBe('first')
    expect(await read(page.locator('.course'))).toBe('Step 20 of 40 · epoch 2 · checkpoints at 20')
    expect(await page.locator('figure:visible').count()).toBe(6)
    for (const metric of ['loss', 'evalLoss', 'memoryBytes'])
      expect(await inkOf(page, metric), metric).toBeGreaterThan(100)
    const drawn = await inkOf(page, 'loss')

    appendMetrics(first, [stepLine(21, { loss: 0.5 }), evaluationLine(21, 1.25)])
    await eventually(tile(page, 'Loss')).toContain('0.5000')
    expect(await read(tile(page, 'Evaluation loss'))).toContain('1.2500 lowest 1.2500 at step 21')
    expect(await read(chart(page, 'Loss').locator('.reading'))).toMatch(/Latest, step 21 0\.5000/)
    expect(await inkOf(page, 'loss')).not.toBe(drawn)

    expect(complaints).toEqual([])
    expect(requests.filter((request) => !request.startsWith(url))).toEqual([])
    const later = requests.filter((request) => request.includes('known='))
    expect(later.length).toBeGreaterThan(0)
  })

  it('compares two runs: curves, values, configuration and samples', async () => {
    writeTwoRuns()
    const { page, complaints } = await visit(`${await serve()}#first`)
    await page.getByRole('checkbox', { name: 'Compare second' }).check()
    expect(await read(page.getByRole('heading', { level: 1 }))).toBe('2 runs compared')
    await eventually(chart(page, 'Loss').locator('.readings')).toMatch(/first 1\.2000 second 1\.1333/)
    const method = page.getByRole('row', { name: /^method/ })
    expect(await read(method)).toMatch(/method ?differs mora lora/)
    expect(await page.getByRole('row', { name: /^rank/ }).count()).toBe(1)
    await page.getByRole('checkbox', { name: 'Only differences' }).check()
    expect(await page.getByRole('row', { name: /^rank/ }).count()).toBe(0)
    expect(await method.count()).toBe(1)
    expect(await read(page.locator('#samples'))).toMatch(/What is 2 \+ 2\? Step 20 answer of step 20 Earlier \(1\)/)
    // The address names both, so that it can be kept.
    expect(new URL(page.url()).hash).toBe('#first&second')
    await page.reload()
    expect(await page.getByRole('checkbox', { name: 'Compare second' }).isChecked()).toBe(true)
    await page.goBack()
    await eventually(page.getByRole('heading', { level: 1 })).toBe('first')
    expect(complaints).toEqual([])
  })

  it('is light or dark as the system says, until the switch says otherwise', async () => {
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

  it('can be walked through with the keyboard, and shows where one is', async () => {
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
      'Loss, chart. first: 1.2000 at step 20',
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
    expect(await reading()).toMatch(/^Step 1 5\.0000$/)
    await page.keyboard.press('ArrowRight')
    expect(await reading()).toMatch(/^Step 2 3\.0000$/)
    expect(await read(chart(page, 'Gradient norm').locator('.reading'))).toMatch(/^Step 2 1\.0000$/)
    expect(await loss.locator('.reading').getAttribute('aria-live')).toBe('polite')
    await page.keyboard.press('Shift+ArrowRight')
    await page.keyboard.press('ArrowLeft')
    expect(await reading()).toMatch(/^Step 11\s/)
    await page.keyboard.press('Escape')
    expect(await reading()).toMatch(/^Latest, step 20\s/)
    expect(await read(chart(page, 'Gradient norm').locator('.reading'))).toMatch(/^Latest, step 20 /)

    await loss.locator('summary').focus()
    await page.keyboard.press('Enter')
    const rows = loss.getByRole('row')
    await eventually(rows.first()).toMatch(/Step first/)
    expect(await read(rows.last())).toMatch(/20 1\.2000/)
    expect(await rows.count()).toBe(21)
  })

  it('looks closer at some steps in all charts, and goes back', async () => {
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
    await page.getByRole('button', { name: 'Show all steps' }).click()
    expect(await page.getByRole('button', { name: 'Show all steps' }).isVisible()).toBe(false)
    expect(await page.evaluate('document.activeElement.id')).toBe('charts-title')
    await other.focus()
    await page.keyboard.press('Home')
    expect(await read(chart(page, 'Learning rate').locator('.reading'))).toMatch(/^Step 1\s/)
  })

  it('smooths noisy curves, and draws by powers of ten', async () => {
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

  it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 390],
  ] as const)('has nothing against the guidelines for accessibility: %s, %i wide', async (colorScheme, width) => {
    const first = writeTwoRuns()
    appendMetrics(first, [stepLine(21, { loss: 99 })])
    const { page } = await visit(`${await serve()}#first&second`, { colorScheme, viewport: { width, height: 800 } })
    await page.locator('.problems li').waitFor()
    for (const summary of await page.locator('summary:visible').all()) await summary.click()
    expect(await violations(page)).toEqual([])
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    expect(overflow).toBe(0)
  })

  it('announces the latest values politely', async () => {
    writeTwoRuns()
    const { page } = await visit(`${await serve()}#first`)
    const status = page.getByRole('status').filter({ hasText: 'running' })
    await status.waitFor({ state: 'attached' })
    expect(await read(status)).toBe('first: running, step 20 of 40, loss 1.2000')
  })

  it('says that there is no run yet, and shows the first one when it comes', async () => {
    const { page } = await visit(await serve())
    await page.getByText('This folder holds no run yet.').waitFor()
    expect(await violations(page)).toEqual([])
    const run = writeRun(folder(), 'first', { metrics: [], locked: true })
    await page.getByText('its first step is not done yet').waitFor()
    appendMetrics(run, stepLines(1, 2))
    await eventually(tile(page, 'Loss')).toContain('3.0000')
  })

  it('says when its server is gone, and goes on when that is back', async () => {
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
    await eventually(tile(page, 'Loss')).toContain('0.2500')
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

  it('shows a hundred thousand steps', async () => {
    writeRun(folder(), 'long', { metrics: stepLines(1, 100_000) })
    const { page, complaints } = await visit(await serve())
    await eventually(tile(page, 'Loss')).toContain('1.0000')
    expect(await inkOf(page, 'tokensPerSecond')).toBeGreaterThan(100)
    expect(complaints).toEqual([])
  })

  it('is, as a report, one file that shows the same', async () => {
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
