/** The files of the page: its own beside this module, and uPlot's. */
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

/** Every file, by name: no other is ever served. */
export function readAssets(): ReadonlyMap<string, { type: string; text: string }> {
  const page = fileURLToPath(new URL('page', import.meta.url))
  const own = readdirSync(page, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const { resolve } = createRequire(import.meta.url)
  const uplot = ['uPlot.iife.min.js', 'uPlot.min.css'].map((name) => resolve(`uplot/dist/${name}`))
  const paths = [...own.map(({ parentPath, name }) => join(parentPath, name)), ...uplot]
  return new Map(
    paths.map((path) => {
      const ending = path.slice(path.lastIndexOf('.') + 1) as keyof typeof TYPES
      return [basename(path), { type: TYPES[ending], text: readFileSync(path, 'utf8') }]
    }),
  )
}
