import { type CodedMatrix, type CodeLayout, type FloatDType, type NativeDevice, native } from '../native/addon.js'
import { Tensor } from './tensor.js'
import { type CodeFormat, type Weight, weightOf } from './weight.js'

/** The tensors of a matrix of codes; see `CodedMatrix`. */
type CodedTensors = {
  readonly [name in Exclude<keyof CodedMatrix, 'layout'>]: Tensor | (CodedMatrix[name] & null)
}

/** A frozen weight of codes with scales, kept as stored in the file; products dequantise it in panels. */
export class CodedWeight implements Weight {
  readonly floats = null
  readonly parameter = null
  readonly tensors: readonly Tensor[]

  /** @param parts owned by this object from now on */
  constructor(
    readonly storage: CodeFormat,
    readonly parts: CodedTensors,
    readonly layout: CodeLayout,
  ) {
    this.tensors = Object.values(parts).filter((part): part is Tensor => part !== null)
  }

  /** Makes a whole matrix of codes. Tensors left out are absent; layout fields left out have their defaults. */
  static of(
    storage: CodeFormat,
    tensors: Pick<CodedTensors, 'codes' | 'scales'> & Partial<CodedTensors>,
    layout: Pick<CodeLayout, 'columns' | 'bits' | 'groupSize'> & Partial<CodeLayout>,
  ): CodedWeight {
    const absent = { table: null, zeros: null, groups: null, scaleTable: null, scaleScales: null }
    const usual = {
      firstRow: 0,
      rowsPerScale: 1,
      highFirst: false,
      runsOn: false,
      zero: 0,
      scalesPerScale: 1,
      scaleOffset: 0,
    }
    return new CodedWeight(storage, { ...absent, ...tensors }, { ...usual, ...layout })
  }

  get device(): NativeDevice {
    return this.parts.codes.device
  }

  get shape(): readonly number[] {
    return [this.parts.codes.shape[0]!, this.layout.columns]
  }

  get disposed(): boolean {
    return this.parts.codes.disposed
  }

  multiply(x: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    native.matmulCodes({ a: x.native, b: this.#native(), transposeB: true, c: target.native, alpha: scale, accumulate })
  }

  multiplyGradient(dY: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    native.matmulCodes({ a: dY.native, b: this.#native(), c: target.native, alpha: scale, accumulate })
  }

  lookUp(ids: Tensor, y: Tensor): void {
    native.unpackCodes(this.#native(), ids.native, y.native)
  }

  unpacked(dtype: FloatDType): Weight {
    return weightOf(this.values(dtype))
  }

  values(dtype: FloatDType): Tensor {
    const values = Tensor.empty(this.shape, { device: this.device, dtype })
    this.writeValues(values)
    return values
  }

  /** Writes the values into a tensor of the same size and any float dtype. */
  writeValues(target: Tensor): void {
    native.unpackCodes(this.#native(), null, target.native)
  }

  async data(): Promise<Float32Array> {
    using values = this.values('float32')
    return (await values.data()) as Float32Array
  }

  rows(from: number, to: number): Weight {
    const { codes, ...others } = this.parts
    const views = Object.entries(others).map(([name, part]) => [name, part?.view(part.shape) ?? null])
    const parts = { codes: codes.rows(from, to), ...Object.fromEntries(views) } as CodedTensors
    return new CodedWeight(this.storage, parts, { ...this.layout, firstRow: this.layout.firstRow + from })
  }

  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #native(): CodedMatrix {
    const { codes, table, scales, zeros, groups, scaleTable, scaleScales } = this.parts
    return {
      codes: codes.native,
      table: table?.native ?? null,
      scales: scales.native,
      zeros: zeros?.native ?? null,
      groups: groups?.native ?? null,
      scaleTable: scaleTable?.native ?? null,
      scaleScales: scaleScales?.native ?? null,
      layout: this.layout,
    }
  }
}
