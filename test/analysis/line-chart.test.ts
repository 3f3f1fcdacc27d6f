import { expect, test } from 'vitest'
import { lineChart } from '../../lib/analysis/index.js'

const labels = { title: 'A & B', xLabel: 'step', yLabel: 'loss' }
const numbersOf = (svg: string, attribute: string) =>
  [...svg.matchAll(new RegExp(`${attribute}="([-\\d.]+)"`, 'g'))].map(([, number]) => Number(number))

test('a line chart has a line and a name for each series, marks for its points, and escapes what it is given', () => {
  const svg = lineChart({
    ...labels,
    series: [
      { name: 'LoRA <r>', points: [1, 2, 4].map((x) => ({ x, y: x * x })) },
      { name: 'MoRA', points: [1, 2].map((x) => ({ x, y: 1 })) },
    ],
  })
  expect(svg.match(/<polyline/g)).toHaveLength(2)
  expect(svg.match(/<circle/g)).toHaveLength(5)
  expect(svg).toContain('LoRA &#60;r&#62;')
  expect(svg).toContain('A &#38; B')
  expect(svg).not.toMatch(/NaN|undefined|Infinity/)
})

test('larger values are higher and later steps further right, by equal distances', () => {
  const points = [0, 1, 2].map((x) => ({ x, y: 10 * x }))
  const svg = lineChart({ ...labels, series: [{ name: 'a', points }] })
  const [xs, ys] = [numbersOf(svg, 'cx'), numbersOf(svg, 'cy')]
  expect(xs[1]! - xs[0]!).toBeCloseTo(xs[2]! - xs[1]!, 0)
  expect(xs[1]!).toBeGreaterThan(xs[0]!)
  expect(ys[0]! - ys[1]!).toBeCloseTo(ys[1]! - ys[2]!, 0)
  expect(ys[0]!).toBeGreaterThan(ys[1]!)
})

test('a logarithmic chart places powers of ten at equal distances, and leaves out what has no logarithm', () => {
  const points = [0, 0.01, 1, 100].map((y, x) => ({ x, y }))
  const svg = lineChart({ ...labels, logarithmic: true, series: [{ name: 'a', points }] })
  const ys = numbersOf(svg, 'cy')
  expect(ys).toHaveLength(3)
  expect(ys[0]! - ys[1]!).toBeCloseTo(ys[1]! - ys[2]!, 0)
})

test('names of lines that end together at the bottom stand above each other, within the plot', () => {
  const ends = [0, 0.1, 0.2, 100, 0.3, 0]
  const series = ends.map((y, i) => ({ name: `line ${i}`, points: [100, y].map((value, x) => ({ x, y: value })) }))
  const svg = lineChart({ ...labels, series })
  const places = [...svg.matchAll(/y="([\d.]+)"[^>]*>line (\d)</g)].map(([, y, i]) => ({ y: Number(y), i: Number(i) }))
  const bottom = Math.max(...numbersOf(svg, 'y2'))
  const ys = places.map(({ y }) => y).sort((a, b) => a - b)
  expect(places).toHaveLength(ends.length)
  expect(ys.at(-1)).toBeLessThanOrEqual(bottom + 4)
  for (const [i, y] of ys.slice(1).entries()) expect(y - ys[i]!).toBeGreaterThanOrEqual(14.9)
  expect(places.find(({ i }) => i === 3)!.y).toBe(ys[0])
})

test.each([
  ['no series', []],
  ['one point', [{ name: 'a', points: [{ x: 3, y: 5 }] }]],
  ['equal values', [{ name: 'a', points: [1, 2].map((x) => ({ x, y: 7 })) }]],
  ['zeros', [{ name: 'a', points: [1, 2].map((x) => ({ x, y: 0 })) }]],
])('%s makes a chart without nonsense', (_, series) => {
  for (const logarithmic of [false, true])
    expect(lineChart({ ...labels, series, logarithmic })).not.toMatch(/NaN|undefined|Infinity/)
})

test('equal values have a tick', () => {
  const points = [1, 2].map((x) => ({ x, y: 7 }))
  expect(lineChart({ ...labels, series: [{ name: 'a', points }] })).toContain('>7</text>')
})
