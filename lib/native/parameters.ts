/** Parameters of the addon's operations other than tensors, numbers and flags; see native/core/parameters.h. */
import type { NativeTensor } from './objects.js'

export type GroupKind = 'tile' | 'runs'
/** How `width` columns form `side` groups; `wrap`: the padding of `tile` repeats the start. See native/mora/geometry.h. */
export interface Grouping {
  kind: GroupKind
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
export interface LogitsPart {
  readonly first: number
  readonly softcap: number
}

/** How `sample` draws; `topK` 0 and `topP` 1 keep all tokens. */
export interface NativeSampling {
  temperature: number
  topK: number
  topP: number
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
export interface AdamWStep {
  learningRate: number
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
  /** Counted from 1. */
  step: number
}

/** How codes become the values of a matrix; see native/core/parameters.h. */
export interface CodeLayout {
  columns: number
  /** The first row of the codes, among all rows that have scales. */
  firstRow: number
  rowsPerScale: number
  groupSize: number
  /** How many scales share a scale, if they are quantised themselves. */
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
