/** Writes the dashboard as one HTML file that contains its files and the data of the runs, so that it opens anywhere. */
import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { UsageError } from '../common/errors.js'
import { packageVersion } from '../common/package-info.js'
import { writeFileAtomic } from '../io/atomic.js'
import { readAssets } from './assets.js'
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

/** Returns the page, with the contents of every file in place of its name. */
function reportPage(data: ReportData): string {
  const assets = readAssets()
  const text = (name: string) => assets.get(name)!.text
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

// A page that is a single file cannot import modules.
const IMPORT = /^import \{([^}]+)\} from '\.\/([^']+)'$/gm
const EXPORT = /^export (?=(?:async )?(?:function|class|const) (\w+))/gm

/**
 * Turns a module and all that it imports into functions that are called in order and return the module's exports. It supports
 * only the forms that the page uses: named imports of `./NAME`, and exported functions, classes and constants.
 */
export function bundleModules(entry: string, codeOf: (name: string) => string): string {
  /** By name, each after its imports; null while these are added. */
  const parts = new Map<string, string | null>()
  const add = (name: string) => {
    if (parts.get(name) === null) throw new Error(`${name} imports itself through others.`)
    if (parts.has(name)) return
    parts.set(name, null)
    const exported: string[] = []
    const body = codeOf(name)
      .replace(IMPORT, (_, names: string, from: string) => {
        add(from)
        return `const {${names}} = modules['${from}']`
      })
      .replace(EXPORT, (_, exportedName: string) => {
        exported.push(exportedName)
        return ''
      })
    if (/^(?:import|export) /m.test(body)) throw new Error(`${name} has an import or export of another form.`)
    parts.delete(name)
    parts.set(name, `modules['${name}'] = await (async () => {\n${body}\nreturn { ${exported.join(', ')} }\n})()`)
  }
  add(entry)
  return ['const modules = {}', ...parts.values()].join('\n')
}
