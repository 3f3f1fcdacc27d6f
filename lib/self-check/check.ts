import type { NativeDevice } from '../native/addon.js'
import type { Values } from './reference.js'

/** One line of the report: what is computed, and how far it may be from the golden values. */
export interface Check {
  readonly name: string
  /** The largest deviation, as a share of the largest golden value of the same result. */
  readonly tolerance: number
  compute(device: NativeDevice): Promise<Values>
}
