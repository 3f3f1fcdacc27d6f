import { type Grouping, type NativeTensor, native, type SectionPlan } from '../../../lib/native/addon.js'
import { liveSections } from '../../../lib/tensor/operations/mora.js'
import { deltaOfGroups, deltaOfSections, foldedOf, groupsOf, rotatedWith, rotationOf, sectionTerms } from '../delta.js'
import {
  type ActivationDType,
  activationDTypes,
  decode,
  encode,
  type OperationCase,
  operationCase,
  testDevice,
} from '../harness.js'
import { Host, sum } from '../host.js'

const tile = (width: number, side: number, wrap: boolean): Grouping => ({ kind: 'tile', wrap, width, side })
const runs = (width: number, side: number): Grouping => ({ kind: 'runs', wrap: false, width, side })

// Exact and ragged groups, one group, one column, more groups than columns (and so much padding that x repeats whole).
const groupings = [
  tile(1, 1, true),
  tile(7, 7, true),
  tile(12, 4, false),
  tile(13, 5, true),
  tile(13, 5, false),
  tile(5, 13, true),
  tile(5, 13, false),
  tile(3, 11, true),
  tile(130, 33, true),
  runs(12, 4),
  runs(13, 5),
  runs(5, 13),
  runs(17, 1),
  runs(97, 31),
  runs(130, 17),
]

const describe = ({ kind, wrap, width, side }: Grouping) => `${kind}${wrap ? ' wrapped' : ''} ${width} to ${side}`
const tokenCounts = [1, 3, 0]

const forGroupings = (
  make: (grouping: Grouping, tokens: number, accumulate: boolean) => OperationCase,
): OperationCase[] => [
  ...groupings.flatMap((grouping) => tokenCounts.map((tokens) => make(grouping, tokens, tokens === 3))),
  make(tile(190, 31, true), 211, true),
  make(runs(190, 31), 211, false),
  ...[tile(1100, 348, true), tile(24, 64, true), runs(1100, 348), runs(5000, 50), runs(4200, 2000)].map((grouping) =>
    make(grouping, 7, false),
  ),
]

const groupSum = forGroupings((grouping, tokens, accumulate) =>
  operationCase({
    name: `groupSum ${describe(grouping)} of ${tokens} tokens${accumulate ? ', added' : ''}`,
    operands: {
      source: { shape: [tokens, grouping.width], dtype: 'activation' },
      target: { shape: [tokens, grouping.side], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
    },
    call: ({ source, target }) => native.groupSum(grouping, source, target, accumulate),
    reference: ({ source, target }) => {
      const sums = accumulate ? new Host(target.shape, target.values) : new Host(target.shape)
      for (const { column, group } of groupsOf(grouping))
        for (let t = 0; t < tokens; t++) sums.add(source.at(t, column), t, group)
      return { target: sums }
    },
  }),
)

const groupSpread = forGroupings((grouping, tokens, accumulate) =>
  operationCase({
    name: `groupSpread ${describe(grouping)} of ${tokens} tokens${accumulate ? ', added' : ''}`,
    operands: {
      source: { shape: [tokens, grouping.side], dtype: 'activation' },
      target: { shape: [tokens, grouping.width], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
    },
    call: ({ source, target }) => native.groupSpread(grouping, source, target, accumulate),
    reference: ({ source, target }) => {
      const spread = accumulate ? new Host(target.shape, target.values) : new Host(target.shape)
      for (const { column, group } of groupsOf(grouping))
        for (let t = 0; t < tokens; t++) spread.add(source.at(t, group), t, column)
      return { target: spread }
    },
  }),
)

const mergeGroups = [
  { input: tile(13, 5, true), output: tile(9, 5, false) },
  { input: tile(3, 11, true), output: tile(20, 11, false) },
  { input: runs(13, 5), output: runs(9, 5) },
  { input: runs(4, 7), output: tile(9, 7, false) },
  { input: tile(190, 31, true), output: runs(261, 31) },
].map(({ input, output }) =>
  operationCase({
    name: `mergeGroups ${describe(input)} and ${describe(output)}`,
    operands: {
      matrix: { shape: [output.side, input.side], dtype: 'float32', layouts: 'dense' },
      weight: { shape: [output.width, input.width], dtype: 'activation', role: 'inout' },
      nonFinite: { shape: [1], dtype: 'int32', role: 'inout', values: [2] },
    },
    call: ({ matrix, weight, nonFinite }) =>
      native.mergeGroups({ input, output, matrix, scale: -0.5, weight, nonFinite }),
    reference: ({ matrix, weight, nonFinite }) => {
      const delta = deltaOfGroups(input, output, matrix)
      return {
        weight: new Host(
          weight.shape,
          weight.values.map((value, i) => value - 0.5 * delta.values[i]!),
        ),
        nonFinite,
      }
    },
  }),
)

const mergeFactors = [
  [1, 1, 1],
  [7, 5, 3],
  [33, 67, 8],
  [130, 264, 17],
].map(([d, k, r]) =>
  operationCase({
    name: `mergeFactors [${d} x ${r} x ${k}]`,
    operands: {
      b: { shape: [d!, r!], dtype: 'float32', layouts: 'rows' },
      a: { shape: [r!, k!], dtype: 'float32', layouts: 'rows' },
      weight: { shape: [d!, k!], dtype: 'activation', role: 'inout' },
      nonFinite: { shape: [1], dtype: 'int32', role: 'inout', values: [2] },
    },
    call: ({ b, a, weight, nonFinite }) => native.mergeFactors(b, a, -0.5, weight, nonFinite),
    reference: ({ b, a, weight, nonFinite }) => {
      const merged = new Host(weight.shape, [...weight.values])
      for (let j = 0; j < d!; j++)
        for (let i = 0; i < k!; i++) merged.add(-0.5 * sum(r!, (t) => b.at(j, t) * a.at(t, i)), j, i)
      return { weight: merged, nonFinite }
    },
  }),
)

const plan = (
  inFeatures: number,
  outFeatures: number,
  side: number,
  kind: 'rotate' | 'decouple' | 'truncate' | 'fold',
): SectionPlan => ({
  inFeatures,
  outFeatures,
  side,
  rotate: kind === 'rotate' || kind === 'fold',
  truncate: kind === 'truncate',
  foldOutput: kind === 'fold',
})

// Whole sections; ragged last section; outputs that repeat; outputs that are cut (dead sections); R = k; R > k; R > 2k.
const plans = [
  plan(12, 12, 4, 'rotate'),
  plan(13, 11, 4, 'rotate'),
  plan(13, 45, 4, 'rotate'),
  plan(40, 11, 6, 'rotate'),
  plan(8, 8, 8, 'rotate'),
  plan(5, 17, 8, 'rotate'),
  plan(3, 10, 8, 'rotate'),
  plan(3, 5, 10, 'rotate'),
  plan(1, 1, 2, 'rotate'),
  plan(13, 45, 5, 'decouple'),
  plan(17, 9, 7, 'decouple'),
  plan(2, 3, 7, 'decouple'),
  plan(9, 14, 5, 'truncate'),
  plan(3, 4, 7, 'truncate'),
  plan(9, 3, 5, 'truncate'),
  plan(13, 5, 4, 'fold'),
  plan(40, 11, 6, 'fold'),
  plan(13, 45, 4, 'fold'),
  plan(7, 3, 10, 'fold'),
  plan(190, 134, 36, 'rotate'),
]

const nameOf = (of: SectionPlan) => {
  const kind = of.truncate ? 'truncation' : of.foldOutput ? 'folded rotation' : of.rotate ? 'rotation' : 'decoupling'
  return `${kind} ${of.inFeatures} to ${of.outFeatures} with side ${of.side}`
}
const foldedShape = (of: SectionPlan) => [liveSections(of), of.side, of.side]

const foldSections = plans.map((of) =>
  operationCase({
    name: `foldSections of ${nameOf(of)}`,
    operands: {
      matrix: { shape: [of.side, of.side], dtype: 'float32', layouts: 'dense' },
      folded: { shape: foldedShape(of), dtype: 'activation', role: 'out', layouts: 'dense' },
    },
    call: ({ matrix, folded }) => native.foldSections(of, matrix, folded),
    reference: ({ matrix }) => ({ folded: foldedOf(of, matrix, liveSections(of)) }),
  }),
)

const unfoldSections = plans.flatMap((of) =>
  [false, true].map((accumulate) =>
    operationCase({
      name: `unfoldSections of ${nameOf(of)}${accumulate ? ', added' : ''}`,
      dtypes: ['float32'],
      operands: {
        dFolded: { shape: foldedShape(of), dtype: 'float32', layouts: 'dense' },
        dMatrix: { shape: [of.side, of.side], dtype: 'float32', role: accumulate ? 'inout' : 'out', layouts: 'dense' },
      },
      call: ({ dFolded, dMatrix }) => native.unfoldSections(of, dFolded, dMatrix, accumulate),
      // M R_b is linear in M: dM = Σ over b of dFolded_b R_bᵀ.
      reference: ({ dFolded, dMatrix }) => {
        const rotations = Array.from({ length: liveSections(of) }, (_, b) => rotationOf(b, of))
        const added = (i: number, j: number) =>
          sum(rotations.length, (b) => sum(of.side, (l) => dFolded.at(b, i, l) * rotations[b]!.at(j, l)))
        return { dMatrix: Host.of([of.side, of.side], (i, j) => (accumulate ? dMatrix.at(i, j) : 0) + added(i, j)) }
      },
    }),
  ),
)

// Matrix units multiply many rows of bfloat16, in blocks of 32 rows, 16 columns and 32 terms; the results of the widest
// sections in parts, whose matrices fit a cache.
const activationsOf = (tokens: number): readonly ActivationDType[] => (tokens < 16 ? activationDTypes : ['bfloat16'])
const forPlans = (make: (of: SectionPlan, tokens: number, accumulate: boolean) => OperationCase): OperationCase[] => [
  ...plans.flatMap((of) => [make(of, 5, false), make(of, 1, true), make(of, 0, false)]),
  ...plans.flatMap((of) => [make(of, 37, true), make(of, 67, false)]),
  make(plan(290, 600, 270, 'rotate'), 33, false),
  make(plan(600, 290, 270, 'decouple'), 16, true),
  make(plan(700, 740, 740, 'rotate'), 17, false),
]

// With several products for one output, bfloat16 rounds the intermediate results.
const rewritten = { bfloat16: 2 ** -7 }

const sectionsForward = forPlans((of, tokens, accumulate) =>
  operationCase({
    name: `sectionsForward of ${nameOf(of)}, ${tokens} tokens${accumulate ? ', added' : ''}`,
    dtypes: activationsOf(tokens),
    operands: {
      x: { shape: [tokens, of.inFeatures], dtype: 'activation' },
      folded: { shape: foldedShape(of), dtype: 'activation', layouts: 'dense' },
      y: { shape: [tokens, of.outFeatures], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
    },
    slack: rewritten,
    call: ({ x, folded, y }) => native.sectionsForward(of, x, folded, y, accumulate),
    reference: ({ x, folded, y }) => {
      const result = accumulate ? new Host(y.shape, y.values) : new Host(y.shape)
      for (const { output, input, section, row, column } of sectionTerms(of))
        for (let t = 0; t < tokens; t++) result.add(folded.at(section, row, column) * x.at(t, input), t, output)
      return { y: result }
    },
  }),
)

const sectionsBackwardInput = forPlans((of, tokens, accumulate) =>
  operationCase({
    name: `sectionsBackwardInput of ${nameOf(of)}, ${tokens} tokens${accumulate ? ', added' : ''}`,
    dtypes: activationsOf(tokens),
    operands: {
      dY: { shape: [tokens, of.outFeatures], dtype: 'activation' },
      folded: { shape: foldedShape(of), dtype: 'activation', layouts: 'dense' },
      dX: { shape: [tokens, of.inFeatures], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
    },
    slack: rewritten,
    call: ({ dY, folded, dX }) => native.sectionsBackwardInput(of, dY, folded, dX, accumulate),
    reference: ({ dY, folded, dX }) => {
      const result = accumulate ? new Host(dX.shape, dX.values) : new Host(dX.shape)
      for (const { output, input, section, row, column } of sectionTerms(of))
        for (let t = 0; t < tokens; t++) result.add(folded.at(section, row, column) * dY.at(t, output), t, input)
      return { dX: result }
    },
  }),
)

/** Whether outputs repeat, because the sections' are fewer. */
const repeats = ({ inFeatures, outFeatures, side, truncate }: SectionPlan) =>
  !truncate && Math.ceil(inFeatures / side) * side < outFeatures

const backwardWeight = (of: SectionPlan, tokens: number): OperationCase =>
  operationCase({
    name: `sectionsBackwardWeight of ${nameOf(of)}, ${tokens} tokens`,
    dtypes: activationsOf(tokens),
    operands: {
      x: { shape: [tokens, of.inFeatures], dtype: 'activation' },
      dY: { shape: [tokens, of.outFeatures], dtype: 'activation' },
      dFolded: { shape: foldedShape(of), dtype: 'float32', role: 'out', layouts: 'dense' },
    },
    // Gradients of repeated outputs are summed in the activations' dtype first: a rounding for each token.
    slack: { bfloat16: repeats(of) ? Math.max(2, tokens) * 2 ** -9 : 2 ** -14 },
    call: ({ x, dY, dFolded }) => native.sectionsBackwardWeight(of, x, dY, dFolded),
    reference: ({ x, dY }) => {
      const result = new Host(foldedShape(of))
      for (const { output, input, section, row, column } of sectionTerms(of))
        for (let t = 0; t < tokens; t++) result.add(dY.at(t, output) * x.at(t, input), section, row, column)
      return { dFolded: result }
    },
  })
// Parts of many rows are summed apart.
const sectionsBackwardWeight = [
  ...forPlans(backwardWeight),
  backwardWeight(plan(70, 45, 20, 'rotate'), 1100),
  backwardWeight(plan(9, 31, 30, 'fold'), 1025),
]

const mergeSections = plans.map((of) =>
  operationCase({
    name: `mergeSections of ${nameOf(of)}`,
    operands: {
      matrix: { shape: [of.side, of.side], dtype: 'float32', layouts: 'dense' },
      folded: { shape: foldedShape(of), dtype: 'float32', role: 'out', layouts: 'dense' },
      weight: { shape: [of.outFeatures, of.inFeatures], dtype: 'activation', role: 'inout' },
      nonFinite: { shape: [1], dtype: 'int32', role: 'inout', values: [0] },
    },
    slack: { bfloat16: 2 ** -8 },
    call: ({ matrix, folded, weight, nonFinite }) => {
      native.foldSections(of, matrix, folded)
      native.mergeSections(of, folded, 2, weight, nonFinite)
    },
    reference: ({ matrix, weight, nonFinite }) => {
      const delta = deltaOfSections(of, matrix)
      return {
        folded: foldedOf(of, matrix, liveSections(of)),
        weight: new Host(
          weight.shape,
          weight.values.map((value, i) => value + 2 * delta.values[i]!),
        ),
        nonFinite,
      }
    },
  }),
)

// Wide sections in bfloat16, which the CUDA backend reads in aligned windows: whole, ragged with padding, cut and repeated
// outputs, dead sections, folded ones. The layout of folded matrices is then up to the backend, so they stay inside of a call.
const widePlans = [
  plan(408, 408, 204, 'rotate'),
  plan(600, 608, 202, 'rotate'),
  plan(608, 240, 198, 'rotate'),
  plan(208, 600, 202, 'rotate'),
  plan(400, 304, 199, 'decouple'),
  plan(304, 256, 250, 'truncate'),
  plan(600, 304, 202, 'fold'),
]

function withFolded(of: SectionPlan, dtype: 'bfloat16' | 'float32', body: (folded: NativeTensor) => void): void {
  const side = native.foldedSide(of, 'bfloat16', testDevice())
  const folded = native.empty(testDevice(), dtype, [liveSections(of), side, side])
  body(folded)
  folded.dispose()
}

/** W_b rounded to bfloat16. */
function roundedFolded(of: SectionPlan, matrix: Host): Host {
  const folded = foldedOf(of, matrix, liveSections(of))
  return new Host(folded.shape, decode(encode(folded.values, 'bfloat16'), 'bfloat16'))
}

const forWidePlans = (make: (of: SectionPlan, accumulate: boolean) => OperationCase): OperationCase[] =>
  widePlans.flatMap((of) => [make(of, false), make(of, true)])

const wideForward = forWidePlans((of, accumulate) =>
  operationCase({
    name: `sectionsForward of wide ${nameOf(of)}${accumulate ? ', added' : ''}`,
    dtypes: ['bfloat16'],
    operands: {
      matrix: { shape: [of.side, of.side], dtype: 'float32', layouts: 'dense' },
      x: { shape: [3, of.inFeatures], dtype: 'activation' },
      y: { shape: [3, of.outFeatures], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
    },
    slack: rewritten,
    call: ({ matrix, x, y }) =>
      withFolded(of, 'bfloat16', (folded) => {
        native.foldSections(of, matrix, folded)
        native.sectionsForward(of, x, folded, y, accumulate)
      }),
    reference: ({ matrix, x, y }) => {
      const folded = roundedFolded(of, matrix)
      const result = accumulate ? new Host(y.shape, y.values) : new Host(y.shape)
      for (const { output, input, section, row, column } of sectionTerms(of))
        for (let t = 0; t < 3; t++) result.add(folded.at(section, row, column) * x.at(t, input), t, output)
      return { y: result }
    },
  }),
)

const wideBackwardInput = forWidePlans((of, accumulate) =>
  operationCase({
    name: `sectionsBackwardInput of wide ${nameOf(of)}${accumulate ? ', added' : ''}`,
    dtypes: ['bfloat16'],
    operands: {
      matrix: { shape: [of.side, of.side], dtype: 'float32', layouts: 'dense' },
      dY: { shape: [3, of.outFeatures], dtype: 'activation' },
      dX: { shape: [3, of.inFeatures], dtype: 'activation', role: accumulate ? 'inout' : 'out' },
    },
    slack: rewritten,
    call: ({ matrix, dY, dX }) =>
      withFolded(of, 'bfloat16', (folded) => {
        native.foldSections(of, matrix, folded)
        native.sectionsBackwardInput(of, dY, folded, dX, accumulate)
      }),
    reference: ({ matrix, dY, dX }) => {
      const folded = roundedFolded(of, matrix)
      const result = accumulate ? new Host(dX.shape, dX.values) : new Host(dX.shape)
      for (const { output, input, section, row, column } of sectionTerms(of))
        for (let t = 0; t < 3; t++) result.add(folded.at(section, row, column) * dY.at(t, output), t, input)
      return { dX: result }
    },
  }),
)

const wideBackwardWeight = widePlans.map((of) =>
  operationCase({
    name: `sectionsBackwardWeight and unfoldSections of wide ${nameOf(of)}`,
    dtypes: ['bfloat16'],
    operands: {
      x: { shape: [3, of.inFeatures], dtype: 'activation' },
      dY: { shape: [3, of.outFeatures], dtype: 'activation' },
      dMatrix: { shape: [of.side, of.side], dtype: 'float32', role: 'inout', layouts: 'dense' },
    },
    // Gradients of repeated outputs are summed in the activations' dtype first.
    slack: { bfloat16: 2 ** -8 },
    call: ({ x, dY, dMatrix }) =>
      withFolded(of, 'float32', (dFolded) => {
        native.sectionsBackwardWeight(of, x, dY, dFolded)
        native.unfoldSections(of, dFolded, dMatrix, true)
      }),
    // dM = Σ over b of dFolded_b R_bᵀ
    reference: ({ x, dY, dMatrix }) => {
      const dFolded = new Host([liveSections(of), of.side, of.side])
      for (const { output, input, section, row, column } of sectionTerms(of))
        for (let t = 0; t < 3; t++) dFolded.add(dY.at(t, output) * x.at(t, input), section, row, column)
      const result = new Host(dMatrix.shape, dMatrix.values)
      for (let b = 0; b < liveSections(of); b++) {
        const rotation = rotationOf(b, of)
        for (let j = 0; j < of.side; j++)
          for (const l of rotatedWith(j, of))
            for (let i = 0; i < of.side; i++) result.add(dFolded.at(b, i, l) * rotation.at(j, l), i, j)
      }
      return { dMatrix: result }
    },
  }),
)

const overflow = operationCase({
  name: 'mergeSections counts results that are not finite, and only what sections reach',
  operands: {
    folded: { shape: [2, 2, 2], dtype: 'float32', layouts: 'dense', values: [1, 1, 1, 1, 1, 1, 1, 1] },
    weight: {
      shape: [4, 4],
      dtype: 'float16',
      role: 'inout',
      values: (_, i) => (i === 1 || i === 2 ? Number.NaN : i === 4 ? 65504 : 0),
    },
    nonFinite: { shape: [1], dtype: 'int32', role: 'inout', values: [1] },
  },
  call: ({ folded, weight, nonFinite }) =>
    native.mergeSections(plan(4, 4, 2, 'decouple'), folded, 60000, weight, nonFinite),
  reference: ({ weight }) => {
    const merged = Host.of([4, 4], (i, j) => weight.at(i, j) + (i >> 1 === j >> 1 ? 60000 : 0))
    merged.set(Number.POSITIVE_INFINITY, 1, 0) // 65504 + 60000 is past float16
    return { weight: merged, nonFinite: new Host([1], [3]) }
  },
})

const factorsOverflow = operationCase({
  name: 'mergeFactors counts results that are not finite',
  operands: {
    b: { shape: [5, 1], dtype: 'float32', values: [1, 1, 1, 1, 1] },
    a: { shape: [1, 3], dtype: 'float32', values: [1, 0, 1] },
    weight: { shape: [5, 3], dtype: 'float16', role: 'inout', values: (_, i) => (i % 3 === 2 ? Number.NaN : 40000) },
    nonFinite: { shape: [1], dtype: 'int32', role: 'inout', values: [1] },
  },
  call: ({ b, a, weight, nonFinite }) => native.mergeFactors(b, a, 60000, weight, nonFinite),
  reference: () => ({
    weight: Host.of([5, 3], (_, j) => [Number.POSITIVE_INFINITY, 40000, Number.NaN][j]!),
    nonFinite: new Host([1], [11]),
  }),
})

type MoraOperations =
  | 'groupSum'
  | 'groupSpread'
  | 'mergeGroups'
  | 'foldSections'
  | 'unfoldSections'
  | 'sectionsForward'
  | 'sectionsBackwardInput'
  | 'sectionsBackwardWeight'
  | 'mergeSections'
  | 'mergeFactors'
export const moraOperations: Record<MoraOperations, OperationCase[]> = {
  groupSum,
  groupSpread,
  mergeGroups,
  foldSections,
  unfoldSections,
  sectionsForward: [...sectionsForward, ...wideForward],
  sectionsBackwardInput: [...sectionsBackwardInput, ...wideBackwardInput],
  sectionsBackwardWeight: [...sectionsBackwardWeight, ...wideBackwardWeight],
  mergeSections: [...mergeSections, overflow],
  mergeFactors: [...mergeFactors, factorsOverflow],
}
