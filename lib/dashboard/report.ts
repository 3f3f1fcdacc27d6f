/** Writes the dashboard as one HTML file that contains its files and the data of the runs, so that it opens anywhere. */
import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { UsageError } from '../common/errors.js'
import { packageVersion } from '../common/package-info.js'
import { writeFileAtomic } from '../io/atomic.js'
import { type Asset, readAssets } from './assets.js'
import { bundleModules } from './bundle.js'
import type { ReportData } from './payload.js'
import { payloadJson } from './payload-json.js'
import { Runs } from './runs.js'

/** Maximum number of runs in a report: the newest. */
const MOST_RUNS = 50

export interface ReportOptions {
  /** The folder to search for runs. */
  folder: string
  /** The file to write. */
  output: string
}

export interface ReportResult {
  runs: number
  /** Number of runs left out because there are too many. */
  leftOut: number
  bytes: number
}

/** @throws UsageError `no-run` if the folder contains none; RunError if the file cannot be written */
export async function writeReport({ folder, output }: ReportOptions): Promise<ReportResult> {
  const { data, leftOut } = await gather(await Runs.in(folder))
  if (data.list.runs.length === 0) {
    throw new UsageError(
      'no-run',
      `${folder} holds no run: give the output folder of mora train, or a folder above it.`,
    )
  }
  const html = reportPage(data)
  await writeFileAtomic(output, html)
  return { runs: data.list.runs.length, leftOut, bytes: Buffer.byteLength(html) }
}

async function gather(all: Runs): Promise<{ data: ReportData; leftOut: number }> {
  const list = await all.list()
  const newest = new Set([...list.runs].sort((a, b) => b.modified - a.modified).slice(0, MOST_RUNS))
  const runs = list.runs.filter((run) => newest.has(run))
  const details: ReportData['details'] = {}
  const metrics: ReportData['metrics'] = {}
  for (const { id } of runs) {
    details[id] = (await all.details(id))!
    metrics[id] = (await all.metrics(id, null))!
  }
  const made = new Date().toISOString()
  const data = {
    made,
    version: packageVersion(),
    list: { ...list, folder: basename(list.folder), runs },
    details,
    metrics,
  }
  return { data, leftOut: list.runs.length - runs.length }
}

/** Returns the page, with the contents of every file in place of its name. */
function reportPage(data: ReportData): string {
  const assets = readAssets()
  const text = (name: string) => (assets.get(name) as Asset).text
  const hashes: string[] = []
  const script = (source: string, attributes: string) => {
    const content = `\n${source}\n`
    hashes.push(`'sha256-${createHash('sha256').update(content).digest('base64')}'`)
    return `<script${attributes}>${content}</script>`
  }
  const modules = bundleModules('main.js', text)
  const page = text('index.html')
    .replace(
      /<link rel="icon" href="assets\/([^"]+)"/,
      (_, name: string) => `<link rel="icon" href="${dataUri(text(name))}"`,
    )
    .replace(/<link rel="stylesheet" href="assets\/([^"]+)">/g, (_, name: string) => `<style>\n${text(name)}</style>`)
    .replace(/<script src="assets\/([^"]+)" defer><\/script>/, (_, name: string) => script(text(name), ''))
    .replace(/<script src="assets\/[^"]+" type="module"><\/script>/, () => {
      const json = `<script type="application/json" id="report-data">${safeJson(data)}</script>`
      return `${json}\n${script(modules, ' type="module"')}`
    })
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src ${hashes.join(' ')}; base-uri 'none'; form-action 'none'`
  return page.replace('<head>', () => `<head>\n<meta http-equiv="Content-Security-Policy" content="${policy}">`)
}

function dataUri(svg: string): string {
  return `data:image/svg+xml,${encodeURIComponent(svg.trim())}`
}

/** Serialises to JSON that cannot end its HTML element, whatever a run contains. */
function safeJson(data: ReportData): string {
  return payloadJson(data).replace(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`)
}
