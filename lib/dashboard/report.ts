/** Writes the dashboard as one HTML file that contains its files and the data of the runs, so that it opens anywhere. */
import { basename } from 'node:path'
import { UsageError } from '../common/errors.js'
import { packageVersion } from '../common/package-info.js'
import { writeFileAtomic } from '../io/atomic.js'
import { readAssets } from './assets.js'
import { asOneFile } from './one-file.js'
import type { ReportData } from './payload.js'
import { payloadJson, Runs } from './runs.js'

/** Maximum number of runs in a report: the newest. */
const MOST_RUNS = 50

/**
 * Writes the newest runs below a folder to the file `output`. Returns how many it has, how many are left out because there are too
 * many, and its size.
 * @throws UsageError `no-run` if the folder contains none; RunError if the file cannot be written
 */
export async function writeReport({
  folder,
  output,
}: {
  folder: string
  output: string
}): Promise<{ runs: number; leftOut: number; bytes: number }> {
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

/** Returns the page as one file, with the data. */
function reportPage(data: ReportData): string {
  const assets = readAssets()
  const json = `<script type="application/json" id="report-data">${safeJson(data)}</script>`
  const { html, scripts } = asOneFile('index.html', (name) => assets.get(name)!.text, json)
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src ${scripts.join(' ')}; base-uri 'none'; form-action 'none'`
  return html.replace('<head>', () => `<head>\n<meta http-equiv="Content-Security-Policy" content="${policy}">`)
}

/** Serialises to JSON that cannot end its HTML element, whatever a run contains. */
function safeJson(data: ReportData): string {
  return payloadJson(data).replace(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`)
}
