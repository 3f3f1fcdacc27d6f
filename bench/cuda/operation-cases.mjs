// Every operation at the sizes of a Llama-2-7B block: `[{name, run}]`. Letters as in lib/native/addon.ts: T tokens, D hidden,
// F features, H heads, E head size, V vocabulary, R side of MoRA's matrix.
import { squareSide, Tensor } from 'node-mora'
import { liveSections, moraGeometry, native } from '../common/internals.mjs'
import { normal } from '../common/random.mjs'

export const llama = { T: 4096, D: 4096, F: 11008, H: 32, E: 128, V: 32000, R: 1448, ranks: [8, 256], lossRows: 1024 }
/** For the emulator. */
export const tiny = { T: 12, D: 64, F: 96, H: 2, E: 32, V: 50, R: 24, ranks: [2], lossRows: 6 }

export function operationCases(device, sizes) {
  const { T, D, F, V, R } = sizes
  const bfloat16 = (...shape) => normal(shape, { device, dtype: 'bfloat16' })
  const float32 = (...shape) => normal(shape, { device })
  const zeros = (shape, dtype = /** @type {import('node-mora').DType} */ ('float32')) =>
    Tensor.zeros(shape, { device, dtype })
  const integers = (count, of) =>
    Tensor.from(
      Int32Array.from({ length: count }, (_, i) => of(i)),
      [count],
      { device, dtype: 'int32' },
    )
  const make = { device, sizes, bfloat16, float32, zeros, integers }
  const one = (name, tensors, call) => ({
    name,
    run: () => call(...tensors.map((tensor) => tensor.native)),
    dispose: () => disposeAll(tensors),
  })

  // Each case is made when it is measured, and freed afterwards.
  return [
    () => one('fill', [bfloat16(T, F)], (x) => native.fill(x, 0)),
    () => one('copy float32 to bfloat16', [float32(T, F), bfloat16(T, F)], (x, y) => native.copy(x, y, 1)),
    () => one('add', [bfloat16(T, D), bfloat16(T, D)], (x, y) => native.add(x, y, 1)),
    () => one('addBias', [float32(F), bfloat16(T, F)], (bias, y) => native.addBias(bias, y)),
    () => one('columnSums', [bfloat16(T, F), float32(F)], (x, sums) => native.columnSums(x, sums, false)),
    ...['q4_0', 'q4_k', 'q6_k', 'q8_0'].map((type) => () => dequantise(make, one, type)),
    () => {
      const tensors = [bfloat16(V, D), integers(T, (i) => (i * 7919) % V), bfloat16(T, D)]
      return one('embedding', tensors, (table, ids, y) => native.embedding(table, ids, y))
    },
    () => {
      const tensors = [bfloat16(T, D), integers(T, (i) => (i * 7919) % V), zeros([V, D])]
      return one('embeddingBackward', tensors, (dY, ids, dTable) => native.embeddingBackward(dY, ids, dTable))
    },
    ...['gatherRows', 'scatterRows'].map((name) => () => {
      const tensors = [bfloat16(T, D), integers(T, (i) => T - 1 - i), bfloat16(T, D)]
      return one(name, tensors, (x, rows, y) => native[name](x, rows, y))
    }),
    () => {
      const tensors = [bfloat16(T, D), integers(D, (i) => D - 1 - i), bfloat16(T, D)]
      return one('gatherColumns', tensors, (x, columns, y) => native.gatherColumns(x, columns, y, false))
    },
    () => {
      const tensors = [bfloat16(T, D), bfloat16(T, D), float32(D), bfloat16(T, D), float32(T)]
      return one('rmsNorm with residual', tensors, (x, residual, weight, y, rstd) =>
        native.rmsNorm({ x, residual, weight, weightOffset: 0, epsilon: 1e-5, y, rstd }),
      )
    },
    () => {
      const tensors = [bfloat16(T, D), float32(D), float32(T), bfloat16(T, D)]
      return one('rmsNormApply', tensors, (x, weight, rstd, y) => native.rmsNormApply(x, weight, 0, rstd, y))
    },
    ...[false, true].map((trained) => () => {
      const tensors = [bfloat16(T, D), bfloat16(T, D), float32(D), float32(T), bfloat16(T, D), zeros([D])]
      return one(`rmsNormBackward${trained ? ' with dWeight' : ''}`, tensors, (dY, x, weight, rstd, dX, dWeight) =>
        native.rmsNormBackward({
          dY,
          x,
          weight,
          weightOffset: 0,
          rstd,
          dX,
          accumulate: true,
          dWeight: trained ? dWeight : null,
        }),
      )
    }),
    () => rope(make, one),
    () => {
      const tensors = Array.from({ length: 3 }, () => bfloat16(T, F))
      return one('SwiGLU', tensors, (gate, up, y) => native.activation('silu', gate, up, y))
    },
    () => {
      const tensors = Array.from({ length: 5 }, () => bfloat16(T, F))
      return one('SwiGLU backward', tensors, (dY, gate, up, dGate, dUp) =>
        native.activationBackward({ f: 'silu', dY, gate, up, dGate, dUp }),
      )
    },
    () => {
      const keys = Tensor.from(
        BigInt64Array.from({ length: T }, (_, i) => BigInt(i)),
        [T],
        { device, dtype: 'int64' },
      )
      return one('dropout', [bfloat16(T, D), keys, bfloat16(T, D)], (x, rows, y) =>
        native.dropout(x, rows, { key: [1, 2], probability: 0.1 }, y),
      )
    },
    ...[1, 8].flatMap((documents) => [
      () => attention(make, one, documents, false),
      () => attention(make, one, documents, true),
    ]),
    () => {
      const { lossRows } = sizes
      const tensors = [float32(lossRows, V), integers(lossRows, (i) => (i * 31) % V), float32(lossRows)]
      return one('crossEntropy with gradients in place', tensors, (logits, targets, losses) =>
        native.crossEntropy(logits, targets, 0, losses, logits),
      )
    },
    () => one('argmax', [float32(1, V), zeros([1], 'int32')], (logits, ids) => native.argmax(logits, ids)),
    ...[0, 50].flatMap((topK) =>
      [1, 0.9].map((topP) => () => {
        const draws = Tensor.from(BigInt64Array.of(2n ** 52n), [1], { device, dtype: 'int64' })
        const settings = Tensor.from(Float32Array.of(1, 0, topK, topP, 1), [1, 5], { device })
        const tensors = [float32(1, V), draws, settings, zeros([1], 'int32')]
        return one(`sample, topK ${topK}, topP ${topP}`, tensors, (x, u, options, ids) =>
          native.sample(x, u, options, ids),
        )
      }),
    ),
    () => one('sum', [float32(T, D), zeros([1])], (x, total) => native.sum(x, total, false)),
    () => one('countNonFinite', [bfloat16(F, D), zeros([1], 'int32')], (x, n) => native.countNonFinite(x, n, false)),
    ...['globalNorm', 'adamw'].map((name) => () => optimizer(make, name)),
    ...['groupSum', 'groupSpread'].flatMap((name) =>
      ['tile', 'runs'].map((kind) => () => {
        const grouping = { kind, wrap: false, width: D, side: R }
        const widths = name === 'groupSum' ? [D, R] : [R, D]
        const tensors = widths.map((width) => bfloat16(T, width))
        return one(`${name} ${kind}`, tensors, (source, target) => native[name](grouping, source, target, false))
      }),
    ),
    ...sizes.ranks.flatMap((rank) => [...sections(make, one, rank), () => merge(make, one, rank, 'sharing')]),
    ...products(make, one),
  ]
}

function disposeAll(tensors) {
  for (const tensor of tensors) tensor.dispose()
}

function dequantise({ device, sizes: { D, F }, bfloat16 }, one, type) {
  const elements = F * Math.ceil(D / 256) * 256
  const bytes = Uint8Array.from({ length: blockBytes[type](elements) }, (_, i) => (i * 37) % 113)
  const width = elements / F
  const tensors = [Tensor.from(bytes, [F, width], { device, dtype: type }), bfloat16(F, width)]
  return one(`dequantise ${type}`, tensors, (source, target) => native.dequantise(source, target))
}

/** Bytes of a number of weights in a block format of GGUF. */
const blockBytes = {
  q4_0: (count) => (count / 32) * 18,
  q8_0: (count) => (count / 32) * 34,
  q4_k: (count) => (count / 256) * 144,
  q6_k: (count) => (count / 256) * 210,
}

function rope({ sizes: { T, H, E }, bfloat16, float32, integers }, one) {
  const tensors = [bfloat16(T, H, E), integers(T, (i) => i), float32(T, E / 2), float32(T, E / 2)]
  return one('rope', tensors, (x, positions, cosines, sines) => native.rope(x, positions, cosines, sines, false))
}

function attention({ sizes: { T, H, E }, bfloat16, float32, integers }, one, documents, backward) {
  const offsets = integers(documents + 1, (i) => Math.floor((T * i) / documents))
  const [q, k, v, out, dOut, dQ, dK, dV] = Array.from({ length: 8 }, () => bfloat16(T, H, E))
  const lse = float32(H, T)
  const scoring = { scale: 1 / Math.sqrt(E), softcap: 0, window: 0 }
  const forward = () =>
    native.attention({
      q: q.native,
      k: k.native,
      v: v.native,
      queryOffsets: offsets.native,
      keyOffsets: offsets.native,
      scoring,
      out: out.native,
      lse: lse.native,
    })
  forward() // the backward pass reads a real lse
  const name = `${backward ? 'attentionBackward' : 'attention'}, documents of ${Math.floor(T / documents)}`
  return one(name, [dOut, q, k, v, out, lse, offsets, dQ, dK, dV], (...tensors) => {
    const [dY, query, key, value, y, sums, bounds, dQuery, dKey, dValue] = tensors
    if (backward)
      native.attentionBackward({
        dOut: dY,
        q: query,
        k: key,
        v: value,
        out: y,
        lse: sums,
        queryOffsets: bounds,
        keyOffsets: bounds,
        scoring,
        dQ: dQuery,
        dK: dKey,
        dV: dValue,
      })
    else forward()
  })
}

/** The adapter of every linear layer of 32 blocks, with matrices of rank 8. */
function optimizer({ sizes: { D }, float32, zeros }, name) {
  const side = squareSide(D, D, 8, 'rotation')
  const lists = Array.from({ length: 4 }, () => Array.from({ length: 224 }, () => float32(side, side)))
  for (const tensor of lists[3]) native.fill(tensor.native, 1)
  const [parameters, gradients, first, second] = lists.map((list) => list.map((tensor) => tensor.native))
  const scalar = zeros([1])
  const step = { learningRate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, step: 1 }
  return {
    name: `${name} of ${parameters.length} matrices`,
    run() {
      if (name === 'globalNorm') native.globalNorm(gradients, scalar.native)
      else
        native.adamw({ parameters, gradients, firstMoments: first, secondMoments: second, step, scale: scalar.native })
    },
    dispose: () => disposeAll([...lists.flat(), scalar]),
  }
}

function sections({ device, sizes: { T, D, F }, bfloat16, float32, zeros }, one, rank) {
  const side = squareSide(D, F, rank, 'rotation')
  const geometry = moraGeometry('rotation', D, F, side)
  if (geometry.kind !== 'sections') throw new Error('Expected rotation to work on sections.')
  const { plan } = geometry
  const matrices = [liveSections(plan), side, side]
  const window = native.foldedSide(plan, 'bfloat16', device)
  const folded = [liveSections(plan), window, window]
  const named = (name) => `${name}, rotation r=${rank}`
  return [
    () =>
      one(named('foldSections'), [float32(side, side), bfloat16(...folded)], (m, w) => native.foldSections(plan, m, w)),
    () =>
      one(named('unfoldSections'), [float32(...folded), zeros([side, side])], (dW, dM) =>
        native.unfoldSections(plan, dW, dM, true),
      ),
    () =>
      one(named('sectionsForward'), [bfloat16(T, D), bfloat16(...folded), bfloat16(T, F)], (x, w, y) =>
        native.sectionsForward(plan, x, w, y, false),
      ),
    () =>
      one(named('sectionsBackwardInput'), [bfloat16(T, F), bfloat16(...folded), bfloat16(T, D)], (dY, w, dX) =>
        native.sectionsBackwardInput(plan, dY, w, dX, false),
      ),
    () =>
      one(named('sectionsBackwardWeight'), [bfloat16(T, D), bfloat16(T, F), float32(...folded)], (x, dY, dW) =>
        native.sectionsBackwardWeight(plan, x, dY, dW),
      ),
    () =>
      one(named('mergeSections'), [float32(...matrices), bfloat16(F, D), zeros([1], 'int32')], (w, weight, nonFinite) =>
        native.mergeSections(plan, w, 1e-6, weight, nonFinite),
      ),
  ]
}

function merge({ sizes: { D, F }, bfloat16, float32, zeros }, one, rank, operator) {
  const side = squareSide(D, F, rank, operator)
  const geometry = moraGeometry(operator, D, F, side)
  if (geometry.kind !== 'groups') throw new Error(`Expected ${operator} to work on groups.`)
  const { input, output } = geometry
  const tensors = [float32(side, side), bfloat16(F, D), zeros([1], 'int32')]
  return one(`mergeGroups, ${operator} r=${rank}`, tensors, (matrix, weight, nonFinite) =>
    native.mergeGroups({ input, output, matrix, scale: 1e-6, weight, nonFinite }),
  )
}

function products({ sizes: { T, D, F, V, lossRows }, bfloat16, float32 }, one) {
  /** @type {[string, number[], number[], number[], boolean, boolean][]} */
  const shapes = [
    ['y = x Wᵀ', [T, D], [D, D], [T, D], false, true],
    ['y = x Wᵀ', [T, D], [F, D], [T, F], false, true],
    ['y = x Wᵀ', [T, F], [D, F], [T, D], false, true],
    ['dX = dY W', [T, F], [F, D], [T, D], false, false],
  ]
  return [
    ...shapes.map(([name, a, b, c, transposeA, transposeB]) => () => {
      const tensors = [bfloat16(...a), bfloat16(...b), bfloat16(...c)]
      return one(`${name}, bfloat16`, tensors, (x, w, y) => native.matmul({ a: x, transposeA, b: w, transposeB, c: y }))
    }),
    () => {
      const tensors = [bfloat16(lossRows, D), bfloat16(V, D), float32(lossRows, V)]
      return one('logits, bfloat16 to float32', tensors, (x, w, y) =>
        native.matmul({ a: x, b: w, transposeB: true, c: y }),
      )
    },
    () => {
      const tensors = [float32(T, D), float32(D, D), float32(T, D)]
      return one('y = x Wᵀ, float32', tensors, (x, w, y) => native.matmul({ a: x, b: w, transposeB: true, c: y }))
    },
  ]
}
