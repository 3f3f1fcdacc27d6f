/** Every operation names itself, the expected and the received argument, before anything is enqueued. */

import { afterAll, describe, expect, test } from 'vitest'
import {
  type CodedMatrix,
  type CodeLayout,
  type DType,
  type Grouping,
  type NativeTensor,
  native,
  type Operations,
  type SectionPlan,
} from '../../lib/native/addon.js'
import { loadBinary } from '../../lib/native/binary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const made: NativeTensor[] = []
const tensor = (shape: number[], dtype: DType = 'float32'): NativeTensor => {
  made.push(native.empty(device, dtype, shape))
  return made.at(-1)!
}
afterAll(() => {
  for (const each of made) each.dispose()
  expect(liveBytes(device), 'bytes in use at the end').toBe(0)
})

const integers = (count: number) => tensor([count], 'int32')
const grouping: Grouping = { kind: 'tile', wrap: true, width: 8, side: 3 }
const plan: SectionPlan = { inFeatures: 8, outFeatures: 6, side: 4, rotate: true, truncate: false, foldOutput: false }
const step = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1, weightDecay: 0, step: 1 }

/** A matrix [3, 8] of 4-bit codes. */
const coded = (layout: Partial<CodeLayout>): CodedMatrix => ({
  codes: tensor([3, 4], 'uint8'),
  scales: tensor([3]),
  table: null,
  zeros: null,
  groups: null,
  scaleTable: null,
  scaleScales: null,
  layout: {
    columns: 8,
    firstRow: 0,
    rowsPerScale: 1,
    groupSize: 8,
    scalesPerScale: 1,
    scaleOffset: 0,
    zero: 0,
    bits: 4,
    highFirst: false,
    runsOn: false,
    ...layout,
  },
})

/** A call with one wrong argument, and the message about it. */
const wrong: Record<keyof Operations, [call: () => void, expected: RegExp]> = {
  fill: [() => native.fill(tensor([32], 'q4_0'), 0), /a plain dtype for target but received q4_0 \[32\]/],
  copy: [
    () => native.copy(tensor([2, 3]), tensor([3, 2]), 1),
    /the shape \[2, 3\] for target but received float32 \[3, 2\]/,
  ],
  add: [
    () => native.add(tensor([2]), integers(2), 1),
    /float32, bfloat16 or float16 for target but received int32 \[2\]/,
  ],
  multiply: [
    () => native.multiply(tensor([2, 3]), tensor([2, 3], 'bfloat16'), tensor([2, 3]), 1, false),
    /float32 for b but received bfloat16 \[2, 3\]/,
  ],
  elementwise: [
    () => native.elementwise('exp', tensor([2]), tensor([2]), tensor([2]), false),
    /nothing for b but received float32 \[2\]/,
  ],
  dequantise: [
    () => native.dequantise(integers(2), tensor([2])),
    /a float or block dtype for source but received int32/,
  ],
  matmul: [
    () => native.matmul({ a: tensor([2, 3]), b: tensor([4, 5]), c: tensor([2, 5]) }),
    /the shape \[3, 5\] for b but received float32 \[4, 5\]/,
  ],
  matmulInt8: [
    () => native.matmulInt8({ a: tensor([2, 3]), b: tensor([4, 3]), c: tensor([2, 3]) }),
    /the shape \[2, 4\] for a but received float32 \[2, 3\]/,
  ],
  unpackCodes: [
    () => native.unpackCodes(coded({ groupSize: 4 }), null, tensor([3, 8])),
    /at least 6 scales for scales but received float32 \[3\]/,
  ],
  matmulCodes: [
    () => native.matmulCodes({ a: tensor([2, 7]), b: coded({}), transposeB: true, c: tensor([2, 3]) }),
    /the shape \[2, 8\] for a but received float32 \[2, 7\]/,
  ],
  addBias: [() => native.addBias(tensor([3]), tensor([2, 4])), /the shape \[4\] for bias but received float32 \[3\]/],
  columnSums: [
    () => native.columnSums(tensor([2, 4]), tensor([4], 'bfloat16'), false),
    /float32 for sums but received bfloat16 \[4\]/,
  ],
  embedding: [
    () => native.embedding(tensor([5, 4]), tensor([3], 'int64'), tensor([3, 4])),
    /int32 for ids but received int64 \[3\]/,
  ],
  embeddingBackward: [
    () => native.embeddingBackward(tensor([2, 4]), integers(3), tensor([5, 4])),
    /the shape \[3, 4\] for dY but received float32 \[2, 4\]/,
  ],
  gatherRows: [
    () => native.gatherRows(tensor([5, 4]), integers(2), tensor([2, 4], 'bfloat16')),
    /float32 for y but received bfloat16 \[2, 4\]/,
  ],
  scatterRows: [
    () => native.scatterRows(tensor([2, 3]), integers(2), tensor([5, 4])),
    /the shape \[2, 4\] for x but received float32 \[2, 3\]/,
  ],
  gatherColumns: [
    () => native.gatherColumns(tensor([2, 3]), integers(5), tensor([2, 4]), false),
    /the shape \[2, 5\] for y but received float32 \[2, 4\]/,
  ],
  rmsNorm: [
    () =>
      native.rmsNorm({
        x: tensor([2, 4]),
        weight: tensor([4], 'bfloat16'),
        weightOffset: 0,
        epsilon: 1e-5,
        y: tensor([2, 4]),
      }),
    /float32 for weight but received bfloat16 \[4\]/,
  ],
  rmsNormApply: [
    () => native.rmsNormApply(tensor([2, 4]), tensor([4]), 0, tensor([3]), tensor([2, 4])),
    /the shape \[2\] for rstd but received float32 \[3\]/,
  ],
  rmsNormBackward: [
    () => {
      const [x, weight, rstd] = [tensor([2, 4]), tensor([4]), tensor([2])]
      native.rmsNormBackward({ dY: x, x, weight, weightOffset: 0, rstd, dX: tensor([2, 5]) })
    },
    /the shape \[2, 4\] for dX but received float32 \[2, 5\]/,
  ],
  rope: [
    () => native.rope(tensor([2, 1, 3]), integers(2), tensor([4, 2]), tensor([4, 2]), false),
    /at most 1 columns for cosines but received float32 \[4, 2\]/,
  ],
  layerNorm: [
    () => {
      const [x, weight, rows] = [tensor([2, 4]), tensor([4]), tensor([2])]
      native.layerNorm({ x, weight, bias: tensor([5]), epsilon: 1e-5, y: x, mean: rows, rstd: rows })
    },
    /the shape \[4\] for bias but received float32 \[5\]/,
  ],
  layerNormApply: [
    () => {
      const [x, weight] = [tensor([2, 4]), tensor([4])]
      native.layerNormApply({ x, weight, mean: tensor([3]), rstd: tensor([2]), y: x })
    },
    /the shape \[2\] for mean but received float32 \[3\]/,
  ],
  layerNormBackward: [
    () => {
      const [x, weight, rows] = [tensor([2, 4]), tensor([4]), tensor([2])]
      native.layerNormBackward({ dY: x, x, weight, mean: rows, rstd: rows, dX: x, dBias: tensor([4], 'bfloat16') })
    },
    /float32 for dBias but received bfloat16 \[4\]/,
  ],
  activation: [
    () => native.activation('silu', tensor([2, 4]), tensor([2, 4], 'bfloat16'), tensor([2, 4])),
    /float32 for up but received bfloat16 \[2, 4\]/,
  ],
  activationBackward: [
    () => {
      const x = tensor([2, 4])
      native.activationBackward({ f: 'gelu', dY: x, gate: x, up: x, dGate: x, dUp: tensor([2, 3]) })
    },
    /the shape \[2, 4\] for dUp but received float32 \[2, 3\]/,
  ],
  dropout: [
    () => native.dropout(tensor([2, 4]), tensor([2], 'int64'), { key: [1, 2], probability: 1 }, tensor([2, 4])),
    /a probability in \[0, 1\) for x/,
  ],
  causalConvolution: [
    () => native.causalConvolution(tensor([2, 4]), tensor([3, 4]), null, integers(2), tensor([2, 4])),
    /4 rows for kernel but received float32 \[3, 4\]/,
  ],
  causalConvolutionBackward: [
    () => {
      const [x, kernel] = [tensor([2, 4]), tensor([4, 3])]
      const inputs = { dY: x, x, kernel, offsets: integers(2) }
      native.causalConvolutionBackward({ ...inputs, dX: tensor([2, 4]), dKernel: tensor([4, 3], 'bfloat16') })
    },
    /float32 for dKernel but received bfloat16 \[4, 3\]/,
  ],
  gatedDeltaRule: [
    () => {
      const [q, v, g, y] = [tensor([2, 2, 4]), tensor([2, 3, 4]), tensor([2, 3]), tensor([2, 3, 4])]
      native.gatedDeltaRule({ q, k: q, v, g, beta: g, offsets: integers(2), y })
    },
    /a multiple of 2 heads for v but received float32 \[2, 3, 4\]/,
  ],
  gatedDeltaRuleBackward: [
    () => {
      const [q, v, g] = [tensor([2, 1, 4]), tensor([2, 3, 5]), tensor([2, 3])]
      const inputs = { dY: v, q, k: q, v, g, beta: g, offsets: integers(2) }
      const outputs = { dQ: tensor([2, 1, 4]), dK: tensor([2, 1, 4]), dV: tensor([2, 3, 5]) }
      const dState = tensor([1, 3, 5, 4])
      native.gatedDeltaRuleBackward({ ...inputs, ...outputs, dG: tensor([2, 3]), dBeta: tensor([2, 3]), dState })
    },
    /the shape \[1, 3, 4, 5\] for dState but received float32 \[1, 3, 5, 4\]/,
  ],
  deltaGates: [
    () => {
      const [a, rate, g] = [tensor([2, 3]), tensor([3]), tensor([2, 3], 'bfloat16')]
      native.deltaGates({ a, b: a, logRate: rate, bias: rate, g, beta: tensor([2, 3]) })
    },
    /float32 for g but received bfloat16 \[2, 3\]/,
  ],
  deltaGatesBackward: [
    () => {
      const [a, rate] = [tensor([2, 3]), tensor([3])]
      const inputs = { dG: a, dBeta: a, a, logRate: rate, bias: rate, g: a, beta: a }
      native.deltaGatesBackward({ ...inputs, dA: a, dB: a, dLogRate: tensor([4]) })
    },
    /the shape \[3\] for dLogRate but received float32 \[4\]/,
  ],
  attention: [
    () => {
      const [q, kv, offsets] = [tensor([2, 3, 4]), tensor([2, 2, 4]), integers(2)]
      native.attention({
        q,
        k: kv,
        v: kv,
        queryOffsets: offsets,
        keyOffsets: offsets,
        scoring: { scale: 1, softcap: 0, window: 0 },
        out: q,
      })
    },
    /a divisor of 3 heads for k but received float32 \[2, 2, 4\]/,
  ],
  attentionBackward: [
    () => {
      const [q, offsets, lse] = [tensor([2, 1, 4]), integers(2), tensor([2, 2])]
      native.attentionBackward({
        dOut: q,
        q,
        k: q,
        v: q,
        out: q,
        lse,
        queryOffsets: offsets,
        keyOffsets: offsets,
        scoring: { scale: 1, softcap: 0, window: 0 },
        dQ: q,
        dK: q,
        dV: q,
      })
    },
    /the shape \[1, 2\] for lse but received float32 \[2, 2\]/,
  ],
  crossEntropy: [
    () => native.crossEntropy(tensor([2, 4]), integers(3), 0, tensor([2]), null),
    /the shape \[2\] for targets but received int32 \[3\]/,
  ],
  crossEntropyPart: [
    () =>
      native.crossEntropyPart({
        logits: tensor([2, 4]),
        targets: integers(2),
        part: { first: 0, softcap: 0 },
        running: tensor([2, 3]),
      }),
    /the shape \[2, 4\] for running but received float32 \[2, 3\]/,
  ],
  crossEntropyOfParts: [
    () =>
      native.crossEntropyOfParts({
        running: tensor([2, 4]),
        targets: integers(2),
        softcap: 0,
        scale: 1,
        losses: tensor([2]),
        dX: tensor([2, 3]),
      }),
    /a tensor for sums but received nothing/,
  ],
  capLogits: [() => native.capLogits(tensor([2, 4]), 0), /a positive softcap for logits/],
  softmaxRows: [
    () => native.softmaxRows(tensor([2, 3]), false, tensor([2, 3], 'bfloat16')),
    /float32 for y but received bfloat16 \[2, 3\]/,
  ],
  softmaxRowsBackward: [
    () => native.softmaxRowsBackward({ dY: tensor([2, 4]), y: tensor([2, 3]), logarithm: true, dX: tensor([2, 3]) }),
    /the shape \[2, 3\] for dY but received float32 \[2, 4\]/,
  ],
  sum: [() => native.sum(tensor([3]), tensor([2]), false), /the shape \[1\] for total but received float32 \[2\]/],
  argmax: [() => native.argmax(tensor([2, 0]), integers(2)), /1 to 2147483647 columns for logits but received/],
  sample: [
    () => native.sample(tensor([2, 4]), tensor([2], 'int64'), tensor([2, 4]), integers(2)),
    /the shape \[2, 5\] for settings but received float32 \[2, 4\]/,
  ],
  editLogits: [
    () => native.editLogits(integers(3), integers(4), tensor([4, 2]), tensor([2, 9])),
    /the shape \[4, 3\] for changes but received float32 \[4, 2\]/,
  ],
  maskLogits: [
    () => native.maskLogits(tensor([2, 1], 'int32'), integers(2), tensor([2, 33])),
    /the shape \[2, 2\] for mask but received int32 \[2, 1\]/,
  ],
  logProbabilities: [
    () => native.logProbabilities(tensor([2, 3]), integers(2), integers(2), tensor([2, 4], 'int32'), tensor([2, 5])),
    /at most as many columns as logits for top but received int32 \[2, 4\]/,
  ],
  globalNorm: [
    () => native.globalNorm([tensor([3], 'bfloat16')], tensor([1])),
    /float32 for gradients but received bfloat16 \[3\]/,
  ],
  clipScale: [() => native.clipScale(integers(1), 1, 1, tensor([1])), /float32 for norm but received int32 \[1\]/],
  adamw: [
    () =>
      native.adamw({
        parameters: [tensor([3])],
        gradients: [tensor([3])],
        firstMoments: [tensor([2])],
        secondMoments: [tensor([3])],
        step,
        scale: tensor([1]),
      }),
    /3 elements for firstMoments but received float32 \[2\]/,
  ],
  countNonFinite: [
    () => native.countNonFinite(tensor([3]), tensor([1]), false),
    /int32 for count but received float32 \[1\]/,
  ],
  largestDifference: [
    () => native.largestDifference(tensor([3]), tensor([4]), tensor([1]), false),
    /the shape \[3\] for b but received float32 \[4\]/,
  ],
  groupSum: [
    () => native.groupSum(grouping, tensor([2, 7]), tensor([2, 3]), false),
    /8 columns for source but received float32 \[2, 7\]/,
  ],
  groupSpread: [
    () => native.groupSpread(grouping, tensor([2, 4]), tensor([2, 8]), false),
    /the shape \[2, 3\] for source but received float32 \[2, 4\]/,
  ],
  foldSections: [
    () => native.foldSections({ ...plan, side: 3 }, tensor([3, 3]), tensor([2, 3, 3])),
    /no plan for 8 -> 6 with side 3 \(rotation needs an even side\)/,
  ],
  unfoldSections: [
    () => native.unfoldSections(plan, tensor([3, 4, 4]), tensor([4, 4]), true),
    /the shape \[2, 4, 4\] for dFolded but received float32 \[3, 4, 4\]/,
  ],
  sectionsForward: [
    () => native.sectionsForward(plan, tensor([2, 8]), tensor([2, 4, 4], 'bfloat16'), tensor([2, 6]), false),
    /float32 for folded but received bfloat16 \[2, 4, 4\]/,
  ],
  sectionsBackwardInput: [
    () => native.sectionsBackwardInput(plan, tensor([2, 5]), tensor([2, 4, 4]), tensor([2, 8]), false),
    /6 columns for dY but received float32 \[2, 5\]/,
  ],
  sectionsBackwardWeight: [
    () => native.sectionsBackwardWeight(plan, tensor([2, 8]), tensor([3, 6]), tensor([2, 4, 4])),
    /the shape \[2, 6\] for dY but received float32 \[3, 6\]/,
  ],
  mergeGroups: [
    () =>
      native.mergeGroups({
        input: grouping,
        output: { ...grouping, width: 6 },
        matrix: tensor([3, 3]),
        weight: tensor([8, 6]),
        nonFinite: integers(1),
      }),
    /the shape \[6, 8\] for weight but received float32 \[8, 6\]/,
  ],
  mergeFactors: [
    () => native.mergeFactors(tensor([6, 3]), tensor([2, 8]), 1, tensor([6, 8]), integers(1)),
    /3 rows for a but received float32 \[2, 8\]/,
  ],
  mergeSections: [
    () => native.mergeSections(plan, tensor([2, 4, 4]), 1, tensor([6, 8]), tensor([1])),
    /int32 for nonFinite but received float32 \[1\]/,
  ],
}

describe('a wrong argument', () => {
  test.each(Object.entries(wrong))('of %s', (operation, [call, expected]) => {
    expect(call).toThrow(
      expect.objectContaining({ code: 'invalid-argument', message: expect.stringMatching(expected) }),
    )
    expect(call).toThrow(new RegExp(`^${operation}: `))
  })

  test.each(Object.keys(wrong))('that is missing, of %s', (operation) => {
    const call = (loadBinary() as Record<string, (...values: unknown[]) => void>)[operation]!
    expect(() => call()).toThrow(/[Ee]xpected .+/)
  })
})

describe('a number that no operation can use', () => {
  const attend = (scoring: object) => {
    const [q, offsets] = [tensor([2, 1, 4]), integers(2)]
    native.attention({
      q,
      k: q,
      v: q,
      queryOffsets: offsets,
      keyOffsets: offsets,
      scoring: { scale: 1, softcap: 0, window: 0, ...scoring },
      out: q,
    })
  }

  test.each<[string, () => void, RegExp]>([
    ['a scale of 0', () => attend({ scale: 0 }), /^attention: expected a positive finite scale but received 0/],
    ['an endless softcap', () => attend({ softcap: Number.POSITIVE_INFINITY }), /a softcap of 0 or more/],
    ['a negative window', () => attend({ window: -1 }), /a window of 0 or more keys but received -1/],
    [
      'a negative softcap of logits',
      () => native.crossEntropy(tensor([2, 4]), integers(2), -1, tensor([2]), null),
      /^crossEntropy: .*a softcap of 0 or more/,
    ],
    [
      'groups without a side',
      () => native.groupSum({ ...grouping, side: 0 }, tensor([2, 8]), tensor([2, 0]), false),
      /^groupSum: the side of the square matrix must be positive, not 0/,
    ],
    [
      'sections without outputs',
      () => native.foldSections({ ...plan, outFeatures: 0 }, tensor([4, 4]), tensor([2, 4, 4])),
      /^foldSections: no plan for 8 -> 0 with side 4/,
    ],
    [
      'one moment for two gradients',
      () =>
        native.adamw({
          parameters: [tensor([3]), tensor([3])],
          gradients: [tensor([3]), tensor([3])],
          firstMoments: [tensor([3])],
          secondMoments: [],
          step,
          scale: tensor([1]),
        }),
      /^adamw: expected 2 firstMoments but received 1/,
    ],
  ])('%s', (_, call, expected) => {
    expect(call).toThrow(
      expect.objectContaining({ code: 'invalid-argument', message: expect.stringMatching(expected) }),
    )
  })
})

describe('an error in values rejects the next wait and names the operation', () => {
  const ids = (...values: number[]): NativeTensor => {
    made.push(native.fromArray(device, 'int32', [values.length], Int32Array.from(values)))
    return made.at(-1)!
  }
  const filled = (...shape: number[]): NativeTensor => {
    const zeros = tensor(shape)
    native.fill(zeros, 0)
    return zeros
  }
  const calls: [string, () => void, RegExp][] = [
    ['an id past the table', () => native.embedding(filled(5, 4), ids(1, 5), filled(2, 4)), /^embedding failed: .*5/],
    ['a negative id', () => native.embedding(filled(5, 4), ids(-1, 2), filled(2, 4)), /^embedding failed: .*-1/],
    ['a row past the end', () => native.gatherRows(filled(5, 4), ids(9), filled(1, 4)), /^gatherRows failed: .*9/],
    [
      'a position past the tables',
      () => native.rope(filled(1, 1, 2), ids(4), filled(4, 1), filled(4, 1), false),
      /^rope failed: .*4/,
    ],
    [
      'a target past the vocabulary',
      () => native.crossEntropy(filled(1, 4), ids(4), 0, filled(1), null),
      /^crossEntropy failed: .*4/,
    ],
    [
      'a draw that is not below 1',
      () => {
        const draws = native.fromArray(device, 'int64', [1], BigInt64Array.of(2n ** 53n))
        made.push(draws)
        native.sample(filled(1, 4), draws, filled(1, 5), ids(0))
      },
      /^sample failed: .*draw 0 is 9007199254740992/,
    ],
    [
      'a change of a token past the vocabulary',
      () => native.editLogits(ids(0, 1), ids(4), filled(1, 3), filled(1, 4)),
      /^editLogits failed: .*4/,
    ],
    [
      'a mask of a row past the last',
      () => native.maskLogits(tensor([1, 1], 'int32'), ids(1), filled(1, 4)),
      /^maskLogits failed: .*1/,
    ],
    [
      'a rank of a token past the vocabulary',
      () => native.logProbabilities(filled(1, 4), ids(4), ids(0), tensor([1, 1], 'int32'), filled(1, 2)),
      /^logProbabilities failed: .*4/,
    ],
    [
      'offsets that do not end at the last token',
      () =>
        native.attention({
          q: filled(3, 1, 4),
          k: filled(3, 1, 4),
          v: filled(3, 1, 4),
          queryOffsets: ids(0, 2),
          keyOffsets: ids(0, 2),
          scoring: { scale: 1, softcap: 0, window: 0 },
          out: filled(3, 1, 4),
        }),
      /^attention failed: /,
    ],
  ]

  test.each([[1, 3], [0, 2], [0, 2, 1, 3], [0, 4], [0]])('offsets of documents: %j, %j', async (...offsets) => {
    const [x, kernel] = [filled(3, 4), filled(4, 2)]
    native.causalConvolution(x, kernel, null, ids(...offsets), filled(3, 4))
    native.causalConvolutionBackward({ dY: x, x, kernel, offsets: ids(...offsets), dX: filled(3, 4), dKernel: kernel })
    const message =
      /^causalConvolution failed: causalConvolution expected offsets that rise from 0 to the 3 .* but offset /
    await expect(device.synchronize()).rejects.toThrow(message)
    await device.synchronize()
  })

  test.each([[1, 3], [0, 2, 1, 3], [0]])('offsets of the delta rule: %j, %j', async (...offsets) => {
    const [q, v, g] = [filled(3, 1, 4), filled(3, 2, 5), filled(3, 2)]
    const inputs = { q, k: q, v, g, beta: g, offsets: ids(...offsets) }
    native.gatedDeltaRule({ ...inputs, y: filled(3, 2, 5) })
    const outputs = { dQ: filled(3, 1, 4), dK: filled(3, 1, 4), dV: filled(3, 2, 5), dG: filled(3, 2) }
    native.gatedDeltaRuleBackward({ dY: v, ...inputs, ...outputs, dBeta: filled(3, 2) })
    await expect(device.synchronize()).rejects.toThrow(
      /^gatedDeltaRule failed: .* expected offsets that rise from 0 to/,
    )
    await device.synchronize()
  })

  test.each(calls)('%s', async (_, call, message) => {
    call()
    await expect(device.synchronize()).rejects.toThrow(
      expect.objectContaining({ code: 'operation-failed', message: expect.stringMatching(message) }),
    )
    await device.synchronize()
  })

  // 255 * 127 * 2^16 fits 32 bits; without products in 8 bits at all, that is the cause.
  test('rows that an operation does not support have their own error code', async () => {
    const long = filled(1, 2 ** 16 + 1)
    native.matmulInt8({ a: long, b: long, transposeB: true, c: filled(1, 1) })
    await expect(device.synchronize()).rejects.toThrow(
      expect.objectContaining({
        code: 'unsupported',
        message: expect.stringMatching(/^matmulInt8 failed: .* not supp/),
      }),
    )
  })

  test('and a read of it, too', async () => {
    const y = filled(1, 4)
    native.gatherRows(filled(5, 4), ids(9), y)
    await expect(y.read()).rejects.toThrow(/^gatherRows failed/)
    expect([...(await y.read())]).toEqual([0, 0, 0, 0])
  })
})

describe('objects of another kind', () => {
  test('are refused', () => {
    const fill = native.fill as (target: unknown, value: unknown) => void
    for (const target of [{}, 1, 'tensor', device, () => {}]) expect(() => fill(target, 1)).toThrow(/a tensor/)
    expect(() => fill(tensor([1]), 'one')).toThrow(/a number/)
    const foreign = Object.create(Object.getPrototypeOf(tensor([1])))
    expect(() => fill(foreign, 1)).toThrow(/a tensor/)
    expect(() => new (tensor([1]).constructor as new () => object)()).toThrow(/made by/)
  })

  test('as shapes and dtypes are refused', () => {
    expect(() => native.empty(device, 'float33' as DType, [1])).toThrow(/Expected a dtype but received "float33"/)
    expect(() => native.empty(device, 'float32', [1.5])).toThrow(/an integer for shape/)
    expect(() => native.empty(device, 'float32', [Number.NaN])).toThrow(/an integer for shape/)
    expect(() => native.empty(device, 'float32', [1, 1, 1, 1, 1])).toThrow(/at most 4 dimensions, not 5/)
    expect(() => native.empty(device, 'q4_k', [3, 100])).toThrow(/Rows of q4_k hold multiples of 256 values/)
    expect(() => native.fromArray(device, 'float32', [3], new Float32Array(2))).toThrow(
      /12 bytes for float32 \[3\] but received 8/,
    )
  })

  test('as views are refused if they leave the memory', () => {
    const base = tensor([4, 6])
    const refused: [number[], number[], number][] = [
      [[4, 6], [6, 1], 1],
      [[5, 6], [6, 1], 0],
      [[2], [24], 0],
      [[1], [1], 24],
      [[1], [1], -1],
      [[2, 2], [-6, 1], 6],
      [[2, 2], [6], 0],
    ]
    for (const [shape, strides, offset] of refused) {
      expect(() => made.push(base.view(shape, strides, offset)), JSON.stringify([shape, strides, offset])).toThrow(
        /view/,
      )
    }
    made.push(base.view([0, 6], [6, 1], 0), base.view([24], [1], 0), base.view([3], [0], 23))
  })

  test('as devices are refused', () => {
    expect(() => native.openDevice('abacus', 0, 1)).toThrow(/no backend of that name; known are cpu and cuda/)
    expect(() => native.openDevice('cpu', 1, 1)).toThrow(/cpu:1 does not exist/)
    expect(native.whyUnavailable('cpu')).toBe(null)
  })
})
