/** Linear layers in NF4 as bitsandbytes stores them (arXiv 2305.14314), without double quantisation. */
import type { SafetensorsEntry } from '../../io/safetensors.js'
import { elementsOf, type FloatDType, native } from '../../native/addon.js'
import { NF4_BLOCK } from '../read/quantise-on-load.js'

/** Two codes fill a byte of one row. */
export function fitsNf4(shape: readonly number[]): boolean {
  return shape.length === 2 && shape[1]! % 2 === 0
}

/**
 * The tensors that make a weight [out, in], which follow each other in a file: `values` is called for its scales, and its codes
 * are held until they are written.
 * @param dtype what readers turn the values into
 */
export function nf4Entries(
  name: string,
  shape: readonly number[],
  dtype: FloatDType,
  values: () => Promise<Float32Array>,
  threads: number,
): SafetensorsEntry[] {
  const count = elementsOf(shape)
  const { table } = native.quantiseNf4(new Float32Array(0), 1)
  const json = JSON.stringify({ quant_type: 'nf4', blocksize: NF4_BLOCK, dtype, shape })
  // Spaces fill the last four bytes, so that floats that follow are aligned.
  const state = Buffer.from(json.padEnd(json.length + ((4 - ((count / 2 + json.length) % 4)) % 4)))
  let codes: Uint8Array | null = null
  const entries: SafetensorsEntry[] = [
    {
      name: `${name}.absmax`,
      dtype: 'float32',
      shape: [Math.ceil(count / NF4_BLOCK)],
      data: async () => {
        const made = native.quantiseNf4(await values(), threads)
        codes = made.codes
        return bytesOf(made.scales)
      },
    },
    { name: `${name}.quant_map`, dtype: 'float32', shape: [table.length], data: async () => bytesOf(table) },
    {
      name,
      dtype: 'uint8',
      shape: [count / 2, 1],
      data: async () => {
        const made = codes!
        codes = null
        return made
      },
    },
    {
      name: `${name}.quant_state.bitsandbytes__nf4`,
      dtype: 'uint8',
      shape: [state.length],
      data: async () => state,
    },
  ]
  return entries.map((entry) => ({ ...entry, among: 4 }))
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength)

/** `quantization_config` as transformers writes it. @param skipped linear layers in floats, the head among them; null: the head alone */
export function nf4Config(dtype: FloatDType, skipped: readonly string[] | null) {
  return {
    quant_method: 'bitsandbytes',
    load_in_4bit: true,
    load_in_8bit: false,
    _load_in_4bit: true,
    _load_in_8bit: false,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: false,
    bnb_4bit_compute_dtype: dtype,
    bnb_4bit_quant_storage: 'uint8',
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    llm_int8_skip_modules: skipped,
    llm_int8_threshold: 6,
  }
}
