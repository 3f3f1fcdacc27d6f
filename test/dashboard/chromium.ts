/** A real browser for tests, where one is installed. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll } from 'vitest'

/** Undefined where there is none: `npm test` installs it where apt is. */
export const chromiumPath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  existsSync,
)

/** Chromium makes no requests of its own, and has no DNS. */
const quiet = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage'],
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
]

export interface Visit {
  page: Page
  /** Errors of the page, and what it wrote to the console. */
  complaints: string[]
  /** Every address that it requested. */
  requests: string[]
}

/** Gives each test pages of a browser that all share. */
export function useChromium(): (url: string, options?: BrowserContextOptions) => Promise<Visit> {
  let browser: Browser
  let profile: string
  beforeAll(async () => {
    profile = mkdtempSync(join(tmpdir(), 'mora-chromium-'))
    const environment = { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile }
    browser = await chromium.launch({ executablePath: chromiumPath, args: quiet, env: environment })
  })
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close()
  })
  afterAll(async () => {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  })
  return async (url, options = {}) => {
    const context = await browser.newContext({
      colorScheme: 'light',
      viewport: { width: 1280, height: 900 },
      ...options,
    })
    context.setDefaultTimeout(30_000)
    const page = await context.newPage()
    const visit: Visit = { page, complaints: [], requests: [] }
    page.on('console', (message) => visit.complaints.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => visit.complaints.push(`error: ${error.message}`))
    page.on('request', (request) => visit.requests.push(request.url()))
    await page.goto(url)
    await page.locator('main h1').waitFor()
    return visit
  }
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Violations of the accessibility guidelines that axe-core finds. */
export async function violations(page: Page): Promise<string[]> {
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
