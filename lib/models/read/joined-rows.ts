import { malformed } from '../../io/open.js'
import { type BlockDType, elementsOf, type NativeDevice } from '../../native/addon.js'
import { keep } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { FileTensor } from './file-tensor.js'
import { type NamedTensor, type OpenFile, type StoredRows, stackedBlocks } from './stored-weight.js'

/** A matrix whose rows are in several tensors of a file, one after the other. */
export class JoinedRows implements StoredRows {
  readonly path: string
  readonly shape: readonly number[]
  readonly dtype: string
  readonly bytes: number
  readonly tensors: readonly NamedTensor[]
  readonly keptFormat: BlockDType | null

  constructor(
    readonly name: string,
    readonly parts: readonly FileTensor[],
  ) {
    const [first] = parts as [FileTensor]
    const other = parts.find(({ shape }) => shape.join() !== first.shape.join())
    if (other) throw malformed(other.path, `${other.name} is [${other.shape}], and ${first.name} is [${first.shape}]`)
    this.path = first.path
    this.shape = [parts.length * first.shape[0]!, ...first.shape.slice(1)]
    this.dtype = first.dtype
    this.bytes = parts.reduce((bytes, part) => bytes + part.bytes, 0)
    this.tensors = parts.flatMap(({ tensors }) => tensors)
    this.keptFormat = parts.every(({ keptFormat }) => keptFormat === first.keptFormat) ? first.keptFormat : null
  }

  check(): { ordered: boolean } {
    for (const part of this.parts) part.check()
    return { ordered: false }
  }

  readInto(target: Tensor, open: OpenFile): void {
    this.#each(target, (part, rows) => part.readInto(rows, open))
  }

  readKept(device: NativeDevice, open: OpenFile): Weight {
    return stackedBlocks(this.parts, device, open)!
  }

  readBlocks(target: Tensor, open: OpenFile): void {
    this.#each(target, (part, rows) => part.readBlocks(rows, open))
  }

  *pieces(open: OpenFile): ReturnType<StoredRows['pieces']> {
    const aligned = this.parts.every(({ shape }) => elementsOf(shape) % 64 === 0)
    const whole = new Float32Array(aligned ? 0 : elementsOf(this.shape))
    const columns = this.shape[1]!
    let above = 0
    for (const part of this.parts) {
      for (const { from, values } of part.pieces(open)) {
        if (aligned) yield { from: above + from, values }
        else whole.set(values, (above + from) * columns)
      }
      above += part.shape[0]!
    }
    if (!aligned) yield { from: 0, values: whole }
  }

  #each(target: Tensor, use: (part: FileTensor, rows: Tensor) => void): void {
    let from = 0
    for (const part of this.parts) {
      const to = from + part.shape[0]!
      using rows = keep(target.rows(from, to))
      use(part, rows)
      from = to
    }
  }
}
