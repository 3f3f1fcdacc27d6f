// Values for measurements: a GPU multiplies zeros with less power, and so faster, than it does real numbers.
import { Tensor } from 'node-mora'
import { randomStream } from 'node-mora/adapters'
import { native } from './internals.mjs'

const sources = new Map()

/** Fills a matrix or a list with normal numbers, which repeat after a million; its innermost rows must be dense. */
export function fillNormal(tensor, deviation = 1) {
  const { device, shape } = tensor
  const width = shape.at(-1)
  const height = tensor.elements / width
  const matrix = tensor.view([height, width], [shape.length > 1 ? tensor.strides.at(-2) : width, 1])
  const rows = Math.max(1, Math.min(height, Math.floor(2 ** 20 / width)))
  const source = sourceOf(device, rows * width)
  for (let from = 0; from < height; from += rows) {
    const to = Math.min(height, from + rows)
    native.copy(source.view([to - from, width]).native, matrix.rows(from, to).native, deviation)
  }
  return tensor
}

function sourceOf(device, count) {
  if (!sources.has(count)) {
    const random = randomStream(1, 'bench', String(count))
    const values = Float32Array.from({ length: count }, () => random.normal())
    sources.set(count, Tensor.from(values, [count], { device }))
  }
  return sources.get(count)
}

export const normal = (shape, options) => fillNormal(Tensor.empty(shape, options))
