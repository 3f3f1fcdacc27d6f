/** A part of a parsed program. */
export interface Node {
  readonly type: string
  readonly [part: string]: unknown
}

/** An identifier or an operator. */
export interface Named {
  readonly value: string
}
