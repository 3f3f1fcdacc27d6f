import type { TensorLocation } from '../../io/stored-dtype.js'

/** Where a file has a weight, and in what the two differ. */
export interface StoredTensor extends TensorLocation {
  /** Row r of the weight is row `rowOrder[r]` of the file; absent where they agree. */
  readonly rowOrder?: Int32Array | null
  /** Whether the file has the weight's transpose. */
  readonly transposed?: boolean
  /** What the file's values are more than the weight's. */
  readonly excess?: number
}
