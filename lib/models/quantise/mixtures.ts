/** Mixtures of block formats by llama.cpp's names, with its rules for which tensor gets which format (llama-quant.cpp). */
import { blockValues } from '../../io/stored-dtype.js'
import type { WrittenBlocks } from '../../native/addon.js'
import { type GgufMixture, type GgufQuantiseFormat, isOneFormat } from '../formats.js'
import type { ModelConfig } from '../network/model-config.js'

/** The shorter blocks that llama.cpp uses for rows that do not fill blocks of 256 values. */
const shorter: Partial<Record<WrittenBlocks, WrittenBlocks>> = {
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
  iq4_xs: 'iq4_nl',
}

/** Returns the format, or its replacement with shorter blocks if rows do not fill its own; null if neither fits. */
export function fittingFormat(format: WrittenBlocks, columns: number): WrittenBlocks | null {
  const fitting = columns % blockValues(format) === 0 ? format : (shorter[format] ?? format)
  return columns % blockValues(fitting) === 0 ? fitting : null
}

/** The format of most matrices. */
const mainFormats: Record<GgufMixture, WrittenBlocks> = {
  q8_0: 'q8_0',
  q6_k: 'q6_k',
  q5_k_m: 'q5_k',
  q4_k_m: 'q4_k',
  iq4_xs: 'iq4_xs',
  q4_0: 'q4_0',
}

/** The properties of a model that a rule may depend on. */
interface Facts extends Pick<ModelConfig, 'layers' | 'heads' | 'keyValueHeads' | 'tiedEmbeddings'> {
  /** Whether the importance of columns is known. */
  readonly weighted: boolean
  /** The layers that project values, where not all do. */
  readonly valueLayers?: readonly number[]
}

/**
 * Returns the format of a matrix in a mixture: more bits for value projections, for the MLP's down projection and for the head,
 * where errors cost most; shorter blocks, or float16, if rows do not fill the format's.
 * @param name the matrix's name in GGUF
 */
export function formatInMixture(
  mixture: GgufMixture,
  name: string,
  columns: number,
  facts: Facts,
): WrittenBlocks | 'float16' {
  return fittingFormat(wantedFormat(mixture, name, columns, facts), columns) ?? 'float16'
}

/**
 * Returns the format of a linear layer when the blocks' layers are quantised: the format itself, or the layer's in a mixture;
 * null if its rows do not fill blocks.
 */
export function formatOfLinear(
  quantise: GgufQuantiseFormat,
  name: string,
  columns: number,
  facts: Facts,
): WrittenBlocks | null {
  return fittingFormat(isOneFormat(quantise) ? quantise : wantedFormat(quantise, name, columns, facts), columns)
}

function wantedFormat(mixture: GgufMixture, name: string, columns: number, facts: Facts): WrittenBlocks {
  const main = mainFormats[mixture]
  const [, layerText, stem] = /^(?:blk\.(\d+)\.)?(\w+)\.weight$/.exec(name) ?? []
  const [layer, { layers, heads, keyValueHeads, weighted }] = [Number(layerText), facts]
  const early = layer < Math.floor(layers / 8)
  switch (stem) {
    case 'output':
      return formatOfHead(main, columns)
    case 'token_embd':
    case 'per_layer_token_embd':
      return facts.tiedEmbeddings ? formatOfHead(main, columns) : main
    case 'attn_v':
    case 'attn_qkv': {
      const sharing = heads / keyValueHeads
      if (mixture === 'iq4_xs' && sharing >= 4) return 'q5_k'
      const among = facts.valueLayers ?? Array.from({ length: layers }, (_, i) => i)
      const more = getsMoreBits(among.indexOf(layer), among.length)
      if ((mixture === 'q4_k_m' || mixture === 'q5_k_m') && more) return 'q6_k'
      // Llama 70B, whose matrix is an eighth of the queries'.
      return main === 'q4_k' && layers === 80 && sharing === 8 ? 'q5_k' : main
    }
    case 'ffn_down':
      if ((mixture === 'q4_k_m' || mixture === 'q5_k_m') && getsMoreBits(layer, layers)) return 'q6_k'
      if (mixture === 'iq4_xs' && early && !weighted) return 'q5_k'
      return mixture === 'q4_0' && early && weighted ? 'q4_1' : main
    default:
      return main
  }
}

function formatOfHead(main: WrittenBlocks, columns: number): WrittenBlocks {
  if (main === 'q8_0' || fittingFormat(main, columns) !== main) return 'q8_0'
  return 'q6_k'
}

/** Whether a layer gets more bits: the first and the last eighth do, and every third layer between them. */
function getsMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8)
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2
}
