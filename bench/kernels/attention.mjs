// Causal attention over documents of one length, ours; the inputs of both sides lie in float32 files, q, k, v and the
// gradient of the output, [documents · length, heads, E], of values that bfloat16 has.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Tensor } from 'node-mora'
import { randomStream } from 'node-mora/adapters'
import { float32FromHalf, halfFromFloat32, native } from '../common/internals.mjs'

const inputs = ['q', 'k', 'v', 'dOut']
const outputs = ['out', 'dQ', 'dK', 'dV']

export function writeInputs(folder, { heads, keyValueHeads, headSize }, tokens) {
  const random = randomStream(1, 'bench', 'attention')
  for (const name of inputs) {
    const elements = tokens * headSize * (name === 'k' || name === 'v' ? keyValueHeads : heads)
    const values = Float32Array.from({ length: elements }, () => random.normal())
    writeFileSync(join(folder, name), float32FromHalf(halfFromFloat32(values, 'bfloat16'), 'bfloat16'))
  }
}

function floatsOf(path) {
  const bytes = readFileSync(path)
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

/** Outputs and gradients that another process has written. */
export const readOutputs = (folder) => Object.fromEntries(outputs.map((name) => [name, floatsOf(join(folder, name))]))

/** Largest difference of outputs and gradients, relative to the largest expected value of each. */
export function largestDifference(results, expected) {
  let apart = 0
  for (const name of outputs) {
    let [largest, difference] = [0, results[name].length === expected[name].length ? 0 : Number.POSITIVE_INFINITY]
    for (let i = 0; i < results[name].length; i++) {
      largest = Math.max(largest, Math.abs(expected[name][i]))
      difference = Math.max(difference, Math.abs(results[name][i] - expected[name][i]))
    }
    apart = Math.max(apart, difference / largest)
  }
  return apart
}

/** FLOPs of a pass: two products for each pair of tokens forward, five backward (scores are recomputed). */
export const attentionFlops = ({ heads, headSize }, documents, length, backward) =>
  (backward ? 5 : 2) * 2 * headSize * heads * documents * ((length * (length + 1)) / 2)

export class OurAttention {
  /** @type {Record<string, Tensor>} */
  #tensors = {}
  #scoring

  constructor(folder, { heads, keyValueHeads, headSize }, documents, length, dtype, device) {
    const tokens = documents * length
    const query = [tokens, heads, headSize]
    const key = [tokens, keyValueHeads, headSize]
    const load = (name, shape) => {
      const values = floatsOf(join(folder, name))
      return Tensor.from(values.subarray(0, tokens * shape[1] * headSize), shape, { device, dtype })
    }
    const empty = (shape) => Tensor.empty(shape, { device, dtype })
    const offsets = Int32Array.from({ length: documents + 1 }, (_, i) => i * length)
    this.#tensors = {
      q: load('q', query),
      k: load('k', key),
      v: load('v', key),
      dOut: load('dOut', query),
      out: empty(query),
      dQ: empty(query),
      dK: empty(key),
      dV: empty(key),
      lse: Tensor.empty([heads, tokens], { device }),
      offsets: Tensor.from(offsets, [documents + 1], { device, dtype: 'int32' }),
    }
    this.#scoring = { scale: 1 / Math.sqrt(headSize), softcap: 0, window: 0 }
  }

  forward() {
    const [q, k, v, offsets, out, lse] = this.#native('q', 'k', 'v', 'offsets', 'out', 'lse')
    native.attention({ q, k, v, queryOffsets: offsets, keyOffsets: offsets, scoring: this.#scoring, out, lse })
  }

  backward() {
    const [dOut, q, k, v, out, lse, offsets] = this.#native('dOut', 'q', 'k', 'v', 'out', 'lse', 'offsets')
    const [dQ, dK, dV] = this.#native('dQ', 'dK', 'dV')
    const documents = { queryOffsets: offsets, keyOffsets: offsets, scoring: this.#scoring }
    native.attentionBackward({ dOut, q, k, v, out, lse, ...documents, dQ, dK, dV })
  }

  /** Outputs and gradients by their names. */
  async results() {
    const results = {}
    for (const name of outputs) results[name] = await this.#tensors[name].data()
    return results
  }

  dispose() {
    for (const tensor of Object.values(this.#tensors)) tensor.dispose()
  }

  #native(...names) {
    return names.map((name) => this.#tensors[name].native)
  }
}
