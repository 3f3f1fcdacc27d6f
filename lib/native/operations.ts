/**
 * The operations of the addon, which native/core/operations.def declares; a test compares this file with it.
 *
 * Every operation checks shapes, dtypes and devices when it is called (a `NativeError` that names the operation, what
 * was expected and what came), enqueues on the device's stream and returns at once. Outputs are arguments: the caller
 * allocates them. An error on the stream rejects the next promise of that device. Operations with more than five parameters, or
 * more than one flag, take one object, in which flags default to false and factors to 1.
 *
 * Letters in shapes: T tokens, D hidden, F features, H query heads, K key-value heads, E head size, V vocabulary,
 * R side of MoRA's matrix, B documents.
 */
import type { NativeTensor } from './objects.js'

type T = NativeTensor
type Optional = NativeTensor | null

export interface Operations {
  fill(target: T, value: number): void
  /** target = scale * source, converting. */
  copy(source: T, target: T, scale: number): void
  /** target += scale * source */
  add(source: T, target: T, scale: number): void
  /** target (float32) = scale * a * b elementwise (+ target), all [rows, columns]; b is float32, and may be the target. */
  multiply(a: T, b: T, target: T, scale: number, accumulate: boolean): void
  /**
   * y (+)= f(a, b) elementwise, all dense, of one shape and dtype: without b, e^a; ln a; √a; tanh a; 1 / (1 + e^-a); with b, a b;
   * a / b; and for a gradient a and a result b: a / (2 b); a (1 - b²); a b (1 - b).
   */
  elementwise(f: Elementwise, a: T, b: Optional, y: T, accumulate: boolean): void
  dequantise(source: T, target: T): void
  /** target [n, columns] = the dequantised values of all rows, or of rows [n] (int32). */
  unpackCodes(source: CodedMatrix, rows: Optional, target: T): void

  /**
   * c = alpha op(a) op(b) (+ c). Rank 2, or 3 with a leading batch. If a is not transposed, a matrix b may be in a block format;
   * native/cpu/few_rows/few_rows.h says how the CPU rounds a then.
   */
  matmul(operands: {
    a: T
    transposeA?: boolean
    b: T
    transposeB?: boolean
    c: T
    alpha?: number
    accumulate?: boolean
  }): void
  /**
   * c = alpha a op(b) (+ c) for a matrix b of codes, which are dequantised to a's dtype; on the CPU to float32 if a has at most 8
   * rows and b is transposed.
   */
  matmulCodes(operands: {
    a: T
    b: CodedMatrix
    transposeB?: boolean
    c: T
    alpha?: number
    accumulate?: boolean
  }): void
  /**
   * c (+)= a bᵀ or a b for a weight b [d, k], with the rows of both rounded to 8 bits of their largest value, after a
   * transformation that native/cpu/products/rounded_rows.h describes.
   */
  matmulInt8(operands: { a: T; b: T; transposeB?: boolean; c: T; accumulate?: boolean }): void
  addBias(bias: T, y: T): void
  columnSums(x: T, sums: T, accumulate: boolean): void

  embedding(table: T, ids: T, y: T): void
  embeddingBackward(dY: T, ids: T, dTable: T): void
  gatherRows(x: T, rows: T, y: T): void
  /** y at distinct rows = x; other rows are unchanged. */
  scatterRows(x: T, rows: T, y: T): void
  gatherColumns(x: T, columns: T, y: T, accumulate: boolean): void

  /** x += residual in place if given; y = x rstd (weightOffset + weight); rstd [T], or [T, heads] of x [T, heads, D]. */
  rmsNorm(operands: {
    x: T
    residual?: Optional
    weight: T
    weightOffset: number
    epsilon: number
    y?: Optional
    rstd?: Optional
  }): void
  rmsNormApply(x: T, weight: T, weightOffset: number, rstd: T, y: T): void
  rmsNormBackward(operands: {
    dY: T
    x: T
    weight: T
    weightOffset: number
    rstd: T
    dX: T
    accumulate?: boolean
    dWeight?: Optional
  }): void
  /** y = (x - mean) rstd weight + bias; mean, rstd [T]. */
  layerNorm(operands: { x: T; weight: T; bias?: Optional; epsilon: number; y: T; mean: T; rstd: T }): void
  layerNormApply(operands: { x: T; weight: T; bias?: Optional; mean: T; rstd: T; y: T }): void
  layerNormBackward(operands: {
    dY: T
    x: T
    weight: T
    mean: T
    rstd: T
    dX: T
    accumulate?: boolean
    dWeight?: Optional
    dBias?: Optional
  }): void
  /** Rotates the first 2 · columns elements of every head; cosines, sines [P, columns]. */
  rope(x: T, positions: T, cosines: T, sines: T, inverse: boolean): void
  /** y = f(gate) up, or f(gate). */
  activation(f: Activation, gate: T, up: Optional, y: T): void
  activationBackward(operands: { f: Activation; dY: T; gate: T; up?: Optional; dGate: T; dUp?: Optional }): void
  dropout(x: T, rowKeys: T, key: DropoutKey, y: T): void
  /** y[t] = bias + Σ kernel[·, K - 1 - j] x[t - j] per channel, within documents; kernel [C, K], offsets [B + 1]. */
  causalConvolution(x: T, kernel: T, bias: Optional, offsets: T, y: T): void
  causalConvolutionBackward(operands: {
    dY: T
    x: T
    kernel: T
    offsets: T
    dX: T
    accumulate?: boolean
    dKernel?: Optional
    dBias?: Optional
  }): void

  /** S <- e^g S; S <- S + k (beta (v - Sᵀk))ᵀ; y = Sᵀq / √Dk for each value head; see native/core/operations.def. */
  gatedDeltaRule(operands: {
    q: T
    k: T
    v: T
    g: T
    beta: T
    offsets: T
    state?: Optional
    y: T
    finalState?: Optional
  }): void
  gatedDeltaRuleBackward(operands: {
    dY: T
    dFinal?: Optional
    q: T
    k: T
    v: T
    g: T
    beta: T
    offsets: T
    state?: Optional
    dQ: T
    dK: T
    dV: T
    dG: T
    dBeta: T
    dState?: Optional
  }): void

  /** g = -e^logRate softplus(a + bias), beta = sigmoid(b), of a, b [T, H]; logRate, bias [H]. */
  deltaGates(operands: { a: T; b: T; logRate: T; bias: T; g: T; beta: T }): void
  deltaGatesBackward(operands: {
    dG: T
    dBeta: T
    a: T
    logRate: T
    bias: T
    g: T
    beta: T
    dA: T
    dB: T
    dLogRate?: Optional
    dBias?: Optional
  }): void

  attention(operands: {
    q: T
    k: T
    v: T
    queryOffsets: T
    keyOffsets: T
    scoring: AttentionScoring
    out: T
    lse?: Optional
    keyRows?: Optional
  }): void
  attentionBackward(operands: {
    dOut: T
    q: T
    k: T
    v: T
    out: T
    lse: T
    queryOffsets: T
    keyOffsets: T
    scoring: AttentionScoring
    dQ: T
    dK: T
    dV: T
  }): void

  /** losses [N] of logits, which are capped first if softcap > 0; dLogits is the gradient of the uncapped logits. */
  crossEntropy(logits: T, targets: T, softcap: number, losses: T, dLogits: Optional): void
  /** Adds the next part of the columns of logits; see native/core/operations.def. */
  crossEntropyPart(operands: {
    logits: T
    targets: T
    part: LogitsPart
    values?: Optional
    running: T
    exponentials?: Optional
    sums?: Optional
    chosen?: Optional
  }): void
  /** losses of all parts; dX, which contains the chosen rows, becomes the gradient. */
  crossEntropyOfParts(operands: {
    running: T
    targets: T
    softcap: number
    scale: number
    sums?: Optional
    losses: T
    dX?: Optional
  }): void
  /** logits = softcap tanh(logits / softcap), in place. */
  capLogits(logits: T, softcap: number): void
  /** y = softmax of every row of x [N, V], or its logarithm. */
  softmaxRows(x: T, logarithm: boolean, y: T): void
  /** dX (+)= the gradient of `softmaxRows`, from its result y. */
  softmaxRowsBackward(operands: { dY: T; y: T; logarithm?: boolean; dX: T; accumulate?: boolean }): void
  sum(x: T, total: T, accumulate: boolean): void

  /** ids [N] = columns of the largest logits [N, V]; -1 - column of a value that is not finite in rows without a finite maximum. */
  argmax(logits: T, ids: T): void
  /**
   * ids [N] = columns drawn with the uniform numbers draws [N] / 2^53, by settings [N, 5]: temperature, minP, topK, topP and
   * typicalP of each row. Greedy rows, and rows without a finite maximum, as in `argmax`.
   */
  sample(logits: T, draws: T, settings: T, ids: T): void
  /** Changes logits at ids [P], by (bias, factor, shift) of changes [P, 3]; row n has those from offsets[n] to offsets[n + 1]. */
  editLogits(offsets: T, ids: T, changes: T, logits: T): void
  /** Forbids the columns of rows [M] whose bit in mask [M, ceil(V / 32)] is 0. */
  maskLogits(mask: T, rows: T, logits: T): void
  /** ranks [N] of ids [N], top [N, n] = columns of the largest logits, logprobs [N, 1 + n] of both. */
  logProbabilities(logits: T, ids: T, ranks: T, top: T, logprobs: T): void

  globalNorm(gradients: readonly T[], norm: T): void
  clipScale(norm: T, gradientScale: number, maxNorm: number, scale: T): void
  adamw(operands: {
    parameters: readonly T[]
    gradients: readonly T[]
    firstMoments: readonly T[]
    secondMoments: readonly T[]
    step: AdamWStep
    scale: T
  }): void
  countNonFinite(x: T, count: T, accumulate: boolean): void
  /** largest [1] float32 = the maximum of |a - b| (and, with `accumulate`, of itself). NaN is ignored. */
  largestDifference(a: T, b: T, largest: T, accumulate: boolean): void

  groupSum(grouping: Grouping, source: T, target: T, accumulate: boolean): void
  groupSpread(grouping: Grouping, source: T, target: T, accumulate: boolean): void
  foldSections(plan: SectionPlan, matrix: T, folded: T): void
  unfoldSections(plan: SectionPlan, dFolded: T, dMatrix: T, accumulate: boolean): void
  sectionsForward(plan: SectionPlan, x: T, folded: T, y: T, accumulate: boolean): void
  sectionsBackwardInput(plan: SectionPlan, dY: T, folded: T, dX: T, accumulate: boolean): void
  sectionsBackwardWeight(plan: SectionPlan, x: T, dY: T, dFolded: T): void
  mergeGroups(operands: {
    input: Grouping
    output: Grouping
    matrix: T
    scale?: number
    weight: T
    nonFinite?: Optional
  }): void
  mergeSections(plan: SectionPlan, folded: T, scale: number, weight: T, nonFinite: Optional): void
  /** weight [d, k] += scale b [d, r] a [r, k] of float32 factors, rounded once. */
  mergeFactors(b: T, a: T, scale: number, weight: T, nonFinite: Optional): void
}

// Parameters other than tensors, numbers and flags; see native/core/parameters.h.

/** The division of `width` columns into `side` groups; `wrap`: the padding of `tile` repeats the start. See native/mora/geometry.h. */
export interface Grouping {
  kind: 'tile' | 'runs'
  wrap: boolean
  width: number
  side: number
}
/** Rotation, decoupling, truncation as products of sections. See native/mora/geometry.h. */
export interface SectionPlan {
  inFeatures: number
  outFeatures: number
  side: number
  rotate: boolean
  truncate: boolean
  foldOutput: boolean
}
/** The mask of (row, column) depends on `key` and the row's key only. */
export interface DropoutKey {
  key: readonly [number, number]
  probability: number
}
/** A part of the columns of logits, from `first` on, which are capped first if softcap > 0. */
interface LogitsPart {
  readonly first: number
  readonly softcap: number
}

/** x sigmoid(x); x Φ(x); its approximation by tanh; max(x, 0). */
export type Activation = 'silu' | 'gelu' | 'geluTanh' | 'relu'
/** Functions of one or two elements; see `elementwise`. */
export type Elementwise =
  | 'exp'
  | 'log'
  | 'sqrt'
  | 'tanh'
  | 'sigmoid'
  | 'softplus'
  | 'multiply'
  | 'divide'
  | 'sqrtGradient'
  | 'tanhGradient'
  | 'sigmoidGradient'
  | 'softplusGradient'
/** Scores s = scale · q·k, or softcap · tanh(s / softcap) if softcap > 0; if window > 0, a query sees that many keys. */
export interface AttentionScoring {
  scale: number
  softcap: number
  window: number
}
interface AdamWStep {
  learningRate: number
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
  /** Counted from 1. */
  step: number
}

/** The layout of a matrix of codes; see native/core/parameters.h. */
export interface CodeLayout {
  columns: number
  /** The first row of the codes, among all rows that have scales. */
  firstRow: number
  rowsPerScale: number
  groupSize: number
  /** Number of scales that share a scale, if scales are quantised themselves. */
  scalesPerScale: number
  scaleOffset: number
  /** Zero point of all codes, if there is no tensor of zeros. */
  zero: number
  bits: 4 | 8
  /** Whether the even column has the high bits of a byte with two codes. */
  highFirst: boolean
  /** Whether groups continue across rows. */
  runsOn: boolean
}

/** A frozen matrix of codes: value = scale (table[code] - zero); see native/core/backend.h. */
export interface CodedMatrix {
  /** uint8 [rows, columns], or [rows, columns / 2] of 4-bit codes. */
  codes: NativeTensor
  table: NativeTensor | null
  /** [n] floats, or uint8 codes of them. */
  scales: NativeTensor
  zeros: NativeTensor | null
  groups: NativeTensor | null
  scaleTable: NativeTensor | null
  scaleScales: NativeTensor | null
  layout: CodeLayout
}
