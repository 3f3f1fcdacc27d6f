import type { LayerFacts } from '../../adapters/contract/adapter.js'
import { float32, type GgufEntry, type GgufField, ggufText, writeGguf } from '../../io/gguf-writer.js'
import type { FloatDType } from '../../native/addon.js'
import type { LowRankFactors } from '../../nn/layer-adapter.js'
import { halfFromFloat32 } from '../../tensor/half.js'
import { ggufFamilyOf } from '../families/gguf-config.js'
import { inFileOrder } from '../gguf/layout.js'
import { ggufTensors } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'

/**
 * Writes a LoRA for llama.cpp: `lora_a` [rank, k] and `lora_b` [d, rank] after the names of the model's own tensors, rows of
 * queries and keys in the order of its weights. llama.cpp multiplies by alpha / rank; layers with their own scales have them in
 * `lora_b`, and alpha 0 means 1.
 */
export async function writeGgufLora(
  path: string,
  config: ModelConfig,
  layers: readonly (LowRankFactors & { readonly layer: LayerFacts })[],
  dtype: FloatDType,
): Promise<void> {
  const { architecture, names, layout } = ggufFamilyOf(config)
  const alphas = new Set(layers.map(({ rank, scale }) => rank * scale))
  const alpha = alphas.size === 1 ? [...alphas][0]! : 0
  const entries = layers.flatMap(({ layer, rank, scale, a, b }): GgufEntry[] => {
    return ggufTensors(`${layer.name}.weight`, layer.outFeatures, names).flatMap(({ name, from, to }): GgufEntry[] => {
      const { rows, columns } = layout?.(name, config) ?? {}
      const bytesOfA = async () => bytesOf(inFileOrder(await a(), rank, { columns }), dtype)
      const bytesOfB = async () => {
        const values = (await b()).subarray(from * rank, to * rank)
        const scaled = alpha === 0 && scale !== 1 ? values.map((value) => value * scale) : values
        return bytesOf(inFileOrder(scaled, to - from, { rows }), dtype)
      }
      return [
        { name: `${name}.lora_a`, dtype, shape: [rank, layer.inFeatures], data: bytesOfA },
        { name: `${name}.lora_b`, dtype, shape: [to - from, rank], data: bytesOfB },
      ]
    })
  })
  const fields: [string, GgufField][] = [
    ['general.architecture', ggufText(architecture)],
    ['general.type', ggufText('adapter')],
    ['adapter.type', ggufText('lora')],
    ['adapter.lora.alpha', float32(alpha)],
  ]
  await writeGguf(path, new Map(fields), entries)
}

function bytesOf(values: Float32Array, dtype: FloatDType): Uint8Array {
  if (dtype === 'float32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  return new Uint8Array(halfFromFloat32(values, dtype).buffer)
}
