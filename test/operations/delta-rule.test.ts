/** The gated delta rule as transformers has it, and packed documents as each alone. */
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { type NativeTensor, native } from '../../lib/native/addon.js'
import { type GoldenTensor, goldenJson, goldenPath, lacksGolden, readTensors } from '../golden/files.js'
import { needing } from '../needs.js'
import { testDevice } from './harness.js'

const device = testDevice()

interface GoldenCase {
  readonly documents: readonly number[]
  readonly l2norm: boolean
  readonly float32: { readonly chunked: Readonly<Record<string, number>> }
}

const folder = 'families3/delta'
const lacking = lacksGolden(`${folder}/delta.safetensors`)

/** Float32 of this file, of any shape. */
const loaded = ({ shape, values }: GoldenTensor): NativeTensor => native.fromArray(device, 'float32', shape, values)
const empty = ({ shape }: GoldenTensor): NativeTensor => native.empty(device, 'float32', shape)
const integers = (values: readonly number[]): NativeTensor =>
  native.fromArray(device, 'int32', [values.length], Int32Array.from(values))
const startsOf = (lengths: readonly number[]): number[] => {
  let start = 0
  return [0, ...lengths.map((length) => (start += length))]
}

/** q or k divided by its norm, and the gradient through that. */
function normOf(x: NativeTensor, like: GoldenTensor) {
  const [tokens, heads, size] = like.shape as [number, number, number]
  const weight = native.fromArray(device, 'float32', [size], new Float32Array(size))
  const rstd = native.empty(device, 'float32', [tokens, heads])
  const factor = { weight, weightOffset: 1 / Math.sqrt(size) }
  const y = empty(like)
  native.rmsNorm({ x, ...factor, epsilon: 1e-6 / size, y, rstd })
  const gradient = (dY: NativeTensor) => {
    const dX = empty(like)
    native.rmsNormBackward({ dY, x, ...factor, rstd, dX })
    return dX
  }
  return { y, gradient }
}

const names = lacking ? [] : Object.keys(goldenJson<object>(`${folder}/delta.json`))

needing(lacking).test('the golden rule', async () => {
  const cases = goldenJson<Record<string, GoldenCase>>(`${folder}/delta.json`)
  const tensors = readTensors(goldenPath(`${folder}/delta.safetensors`))
  const rules = names.filter((name) => name.startsWith('rule/'))
  expect(rules.length).toBe(13)
  for (const name of rules) {
    const { documents, l2norm, float32 } = cases[name]!
    const golden = (part: string) => tensors.get(`${name}/${part}`)
    const input = (part: string) => loaded(golden(part)!)
    const [q, k] = (['q', 'k'] as const).map((part) => {
      const x = input(part)
      return l2norm ? normOf(x, golden(part)!) : { y: x, gradient: (dY: NativeTensor) => dY }
    }) as [ReturnType<typeof normOf>, ReturnType<typeof normOf>]
    const withDocument = (states: GoldenTensor) => ({ ...states, shape: golden('final')!.shape })
    const state = golden('state') ? loaded(withDocument(golden('state')!)) : null
    const inputs = {
      q: q.y,
      k: k.y,
      v: input('v'),
      g: input('g'),
      beta: input('beta'),
      offsets: integers(startsOf(documents)),
      state,
    }
    const [y, finalState] = [empty(golden('v')!), empty(golden('final')!)]
    native.gatedDeltaRule({ ...inputs, y, finalState })
    const [dQ, dK, dV, dG, dBeta] = ['q', 'k', 'v', 'g', 'beta'].map((part) => empty(golden(part)!)) as [
      NativeTensor,
      NativeTensor,
      NativeTensor,
      NativeTensor,
      NativeTensor,
    ]
    const dState = state && empty(golden('final')!)
    const [dY, dFinal] = [input('d_y'), golden('d_final') ? input('d_final') : null]
    native.gatedDeltaRuleBackward({ dY, dFinal, ...inputs, dQ, dK, dV, dG, dBeta, dState })
    const results = { y, final: finalState, q: q.gradient(dQ), k: k.gradient(dK), v: dV, g: dG, beta: dBeta }
    for (const [part, tensor] of Object.entries({ ...results, ...(dState && { state: dState }) })) {
      const wanted = golden(part in { y, final: y } ? part : `grad_${part}`)!.values
      const got = (await tensor.read()) as Float32Array
      const largest = Math.max(...wanted.map(Math.abs))
      const error = Math.max(...wanted.map((value, i) => Math.abs(value - got[i]!))) / (largest || 1)
      const theirs = float32.chunked[part in { y, final: y } ? part : `d_${part}`]!
      expect(error, `${name}, ${part}`).toBeLessThan(10 * Math.max(theirs, 2e-7))
    }
  }
})

test('packed documents equal those alone, and a document equals its parts one after the other', async () => {
  const [heads, size, offsets] = [2, 6, [0, 5, 5, 70, 140]]
  const random = randomStream(4, 'test', 'delta rule')
  const tokens = offsets.at(-1)!
  const drawn = (shape: readonly number[], of: (normal: number) => number) => {
    const length = shape.reduce((a, b) => a * b, 1)
    return native.fromArray(
      device,
      'float32',
      shape,
      Float32Array.from({ length }, () => of(random.normal())),
    )
  }
  const rows = {
    q: drawn([tokens, 1, size], (x) => x),
    k: drawn([tokens, 1, size], (x) => x / Math.sqrt(size)),
    v: drawn([tokens, heads, size], (x) => x),
    g: drawn([tokens, heads], (x) => -Math.abs(x)),
    beta: drawn([tokens, heads], (x) => 1 / (1 + Math.exp(x))),
  }
  const run = async (from: number, to: number, starts: readonly number[], state: NativeTensor | null = null) => {
    const part = (tensor: NativeTensor, ...sizes: number[]) => {
      const width = sizes.reduce((a, b) => a * b, 1)
      return tensor.view([to - from, ...sizes], [width, ...(sizes.length > 1 ? [sizes[1]!] : []), 1], from * width)
    }
    const [y, finalState] = [
      [to - from, heads, size],
      [starts.length - 1, heads, size, size],
    ].map((shape) => native.empty(device, 'float32', shape)) as [NativeTensor, NativeTensor]
    native.gatedDeltaRule({
      q: part(rows.q, 1, size),
      k: part(rows.k, 1, size),
      v: part(rows.v, heads, size),
      g: part(rows.g, heads),
      beta: part(rows.beta, heads),
      offsets: integers(starts),
      state,
      y,
      finalState,
    })
    return { y: [...((await y.read()) as Float32Array)], finalState }
  }
  const packed = await run(0, tokens, offsets)
  const alone: number[] = []
  for (const [i, end] of offsets.slice(1).entries()) {
    alone.push(...(await run(offsets[i]!, end, [0, end - offsets[i]!])).y)
  }
  expect(packed.y).toEqual(alone)

  // Token by token from the kept state: other chunks, so other roundings.
  const whole = packed.y.slice(70 * heads * size)
  const parts: number[] = []
  let { y, finalState } = await run(70, 80, [0, 10])
  parts.push(...y)
  for (let t = 80; t < 140; t++) {
    ;({ y, finalState } = await run(t, t + 1, [0, 1], finalState))
    parts.push(...y)
  }
  const largest = Math.max(...whole.map(Math.abs))
  for (const [i, value] of whole.entries()) expect(Math.abs(value - parts[i]!)).toBeLessThan(5e-6 * largest)
})
