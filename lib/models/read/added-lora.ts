/** LoRA adapters in GGUF files, as llama.cpp reads them, added to a model's weights while they are loaded. */
import { UsageError } from '../../common/errors.js'
import { readGguf } from '../../io/gguf.js'
import { MetadataReader } from '../../io/gguf-metadata.js'
import { malformed } from '../../io/open.js'
import { isComputable } from '../../io/stored-dtype.js'
import { type NativeDevice, native } from '../../native/addon.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { GgufFamily } from '../gguf/gguf-family.js'
import { ggufTensors, huggingFaceName } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { adaptableLayers } from '../network/plan.js'
import { FileTensor } from './file-tensor.js'
import type { NamedTensor, OpenFile, StoredWeight } from './stored-weight.js'

/** One LoRA of a weight: scale · B A, added to its rows from `from` on. */
interface Factors {
  readonly from: number
  /** [rank, in] */
  readonly a: FileTensor
  /** [out, rank] */
  readonly b: FileTensor
  readonly scale: number
}

/**
 * Adds the LoRA in a GGUF file to the weights of its model.
 * @throws UsageError `unsupported-option`, `unknown-tensor`; InputError `malformed-file`
 */
export async function withGgufLora(
  path: string,
  weights: ReadonlyMap<string, StoredWeight>,
  config: ModelConfig,
  { architecture, names, layout }: GgufFamily,
): Promise<Map<string, StoredWeight>> {
  const { metadata, tensors } = await readGguf(path)
  const read = new MetadataReader({ path, metadata, tensors })
  read.refuseUnless('general.type', 'adapter')
  read.refuseUnless('general.architecture', architecture)
  if (read.text('adapter.type') !== 'lora') throw read.unsupported(`adapter.type ${read.text('adapter.type')}`)
  const alpha = read.number('adapter.lora.alpha')
  read.refuseOverlooked('adapter.', ['adapter.lora.prompt_prefix', 'adapter.lora.task_name'])
  const linears = new Map(adaptableLayers(config).map((layer) => [`${layer.name}.weight`, layer]))
  const all = new Map(weights)
  for (const [stored, location] of tensors) {
    const [, ofWeight, factor] = /^(.+)\.lora_([ab])$/.exec(stored) ?? []
    if (ofWeight === undefined) throw read.unsupported(`the tensor ${stored}`)
    const name = huggingFaceName(ofWeight, names, path)
    const layer = linears.get(name)
    const part = layer && ggufTensors(name, layer.outFeatures, names).find((other) => other.name === ofWeight)
    if (!part || layer.role === 'embeddings' || !isComputable(location.dtype)) {
      throw read.unsupported(`${stored} (${location.dtype}), which is no LoRA of a linear layer`)
    }
    const other = tensors.get(`${ofWeight}.lora_${factor === 'a' ? 'b' : 'a'}`)
    if (!other) throw malformed(path, `${stored} has no counterpart`)
    if (factor === 'b') continue
    const { inFeatures } = layer
    const outFeatures = part.to - part.from
    const rank = location.shape[0]
    if (location.shape.join() !== `${rank},${inFeatures}` || other.shape.join() !== `${outFeatures},${rank}`) {
      throw malformed(
        path,
        `the LoRA of ${ofWeight} has the shapes [${location.shape}] and [${other.shape}], but the layer asks for [rank, ${inFeatures}] and [${outFeatures}, rank]`,
      )
    }
    const base = all.get(name)
    if (!base) throw malformed(path, `it has a LoRA of ${ofWeight}, which the model lacks`)
    // As in llama.cpp, alpha 0 means that the factors have their scales.
    const scale = alpha === 0 ? 1 : alpha / rank!
    // The scale makes another base, whose identity is that of its tensors.
    const { rows, columns } = layout?.(ofWeight, config) ?? {}
    const a = new FileTensor({ ...location, name: `${stored} × ${scale}` }, { columns })
    const b = new FileTensor({ ...other, name: `${ofWeight}.lora_b` }, { rows })
    all.set(name, new AddedLora(base, { from: part.from, a, b, scale }))
  }
  return all
}

/** A weight of floats, the sum of a file's weight (in any format) and a LoRA. */
export class AddedLora implements StoredWeight {
  readonly name: string
  readonly path: string
  readonly shape: readonly number[]
  readonly dtype: string
  readonly bytes: number
  readonly tensors: readonly NamedTensor[]
  readonly keptFormat = null

  constructor(
    readonly base: StoredWeight,
    readonly lora: Factors,
  ) {
    const { name, path, shape, dtype, bytes, tensors } = base
    this.name = name
    this.path = path
    this.shape = shape
    this.dtype = dtype
    this.bytes = bytes
    this.tensors = [...tensors, ...lora.a.tensors, ...lora.b.tensors]
  }

  check(open: OpenFile): { ordered: boolean } {
    this.lora.a.check()
    this.lora.b.check()
    return this.base.check(open)
  }

  readInto(target: Tensor, open: OpenFile): void {
    const { device } = target
    const { from, a, b, scale } = this.lora
    const valuesOf = (factor: FileTensor) => {
      const values = Tensor.empty(factor.shape, { device })
      factor.readInto(values, open)
      return values
    }
    scope(() => {
      const sum = Tensor.empty(this.shape, { device })
      this.base.readInto(sum, open)
      const rows = sum.rows(from, from + b.shape[0]!)
      native.mergeFactors(valuesOf(b).native, valuesOf(a).native, scale, rows.native, null)
      target.copyFrom(sum)
    })
  }

  readKept(_device: NativeDevice, _open: OpenFile): Weight {
    throw new UsageError('quantised-weights', `${this.path}: ${this.name} has a LoRA added and is kept as floats.`)
  }
}
