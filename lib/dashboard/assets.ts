/** The files of the page: its own beside this module, and uPlot's. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/** The page's modules, each after those that it imports; the last one is the entry point. */
export const PAGE_MODULES = [
  'elements.js',
  'format.js',
  'theme.js',
  'source.js',
  'look.js',
  'axes.js',
  'metrics.js',
  'state.js',
  'course.js',
  'run-list.js',
  'run-table.js',
  'chart-data.js',
  'chart-plot.js',
  'chart-input.js',
  'chart-table.js',
  'chart.js',
  'charts.js',
  'configuration.js',
  'samples.js',
  'main.js',
] as const

const TYPES = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
} as const

export interface Asset {
  type: string
  text: string
}

const own = ['index.html', 'icon.svg', ...PAGE_MODULES]
const styles = ['base.css', 'layout.css', 'parts.css', 'charts.css']
const uplot = ['uPlot.iife.min.js', 'uPlot.min.css']

/** Every file, by name: no other is ever served. */
export function readAssets(): ReadonlyMap<string, Asset> {
  const { resolve } = createRequire(import.meta.url)
  const paths = [
    ...own.map((name) => [name, fileURLToPath(new URL(`page/${name}`, import.meta.url))] as const),
    ...styles.map((name) => [name, fileURLToPath(new URL(`page/style/${name}`, import.meta.url))] as const),
    ...uplot.map((name) => [name, resolve(`uplot/dist/${name}`)] as const),
  ]
  return new Map(
    paths.map(([name, path]) => {
      const ending = name.slice(name.lastIndexOf('.') + 1) as keyof typeof TYPES
      return [name, { type: TYPES[ending], text: readFileSync(path, 'utf8') }]
    }),
  )
}
