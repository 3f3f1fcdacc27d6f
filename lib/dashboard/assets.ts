/** The files of the page, its own beside this module and uPlot's, and the headers of pages. */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const TYPES = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
} as const

/** Headers that keep a page from other sites and from caches, beside its Content-Security-Policy. */
export const PAGE_HEADERS = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
}

/** The folder of the page's own files. */
export const DASHBOARD_PAGE = fileURLToPath(new URL('page', import.meta.url))

/** Returns the paths of all files below a folder. */
export function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return entries.map(({ parentPath, name }) => join(parentPath, name))
}

/** Every file, by name: no other is ever served. */
export function readAssets(): ReadonlyMap<string, { type: string; text: string }> {
  const { resolve } = createRequire(import.meta.url)
  const uplot = ['uPlot.iife.min.js', 'uPlot.min.css'].map((name) => resolve(`uplot/dist/${name}`))
  const paths = [...filesBelow(DASHBOARD_PAGE), ...uplot]
  return new Map(
    paths.map((path) => {
      const ending = path.slice(path.lastIndexOf('.') + 1) as keyof typeof TYPES
      return [basename(path), { type: TYPES[ending], text: readFileSync(path, 'utf8') }]
    }),
  )
}
