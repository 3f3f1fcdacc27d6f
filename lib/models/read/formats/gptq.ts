/** GPTQ (arXiv 2210.17323) as AutoGPTQ, GPTQModel and transformers write it: words of codes along inputs, groups of inputs. */
import { malformed } from '../../../io/open.js'
import { transposed } from '../../../tensor/transpose.js'
import type { ConfigReader } from '../../families/config-reader.js'
import { StoredCodes } from '../stored-codes.js'
import type { NamedTensor, OpenFile } from '../stored-weight.js'
import {
  type CheckpointTensors,
  codesOfWords,
  countGroups,
  matrixShape,
  misshapen,
  type QuantisationFormat,
  readFinite,
  readGroups,
  readWords,
  transposedFloats,
  wordsOf,
} from './format.js'

export const gptq: QuantisationFormat = {
  method: 'gptq',
  costs: { 'gptq-4': { training: 20, decoding: 1.1 }, 'gptq-8': { training: 25, decoding: 1.3 } },
  weights(settings, tensors) {
    settings.require('bits', [4, 8], undefined)
    settings.require('pack_dtype', ['int32'], 'int32')
    settings.require('is_marlin_format', [false], false)
    const version = settings.value('checkpoint_format') === undefined ? 'format' : 'checkpoint_format'
    settings.require(version, ['gptq', 'gptq_v2'], 'gptq')
    const layout: Layout = {
      bits: settings.integer('bits') as 4 | 8,
      groupSize: groupSizeOf(settings),
      zerosAreLess: (settings.value(version) ?? 'gptq') === 'gptq',
      // Rules by name may give a layer other bits and groups.
      uniform: Object.keys((settings.value('dynamic') as object) ?? {}).length === 0,
      ordered: settings.flag('desc_act'),
    }
    return tensors.modules('.qweight').map((module) => weightOf(module, layout, tensors))
  },
}

function groupSizeOf(settings: ConfigReader): number | null {
  const size = settings.value('group_size')
  return size === -1 ? Number.POSITIVE_INFINITY : size === undefined ? null : settings.integer('group_size')
}

interface Layout {
  readonly bits: 4 | 8
  /** Infinity: all inputs are one group. Null: determined by the scales' shape. */
  readonly groupSize: number | null
  /** Whether stored zeros are one less than the true ones. */
  readonly zerosAreLess: boolean
  readonly uniform: boolean
  readonly ordered: boolean
}

function weightOf(module: string, layout: Layout, tensors: CheckpointTensors): StoredCodes {
  const words = tensors.take(`${module}.qweight`, null, { dtypes: ['int32'] })
  const [wordRows, rows] = matrixShape(words)
  const scales = tensors.take(`${module}.scales`, words, { dtypes: ['float16', 'bfloat16', 'float32'] })
  const [groups] = matrixShape(scales)
  const take = layout.ordered ? tensors.take : tensors.takeIfThere
  const indices = take.call(tensors, `${module}.g_idx`, words, { dtypes: ['int32'] })
  const columns = indices && !layout.uniform ? indices.shape[0]! : (wordRows * 32) / layout.bits
  const bits = layout.uniform ? layout.bits : (wordRows * 32) / columns
  if ((bits !== 4 && bits !== 8) || (indices && indices.shape.join() !== String(columns))) {
    const described = `${layout.uniform ? `${layout.bits}-bit codes` : 'codes'} of ${indices?.shape.join() ?? columns} inputs`
    throw malformed(words.path, `${words.name} is [${words.shape.join(', ')}], which cannot hold ${described}`)
  }
  const said = layout.uniform ? layout.groupSize : null
  const groupSize = said === null ? Math.ceil(columns / groups) : Math.min(said, columns)
  // The last group may have fewer inputs, if there is a tensor of groups.
  if (!indices) countGroups(columns, groupSize, words)
  const wanted = [Math.ceil(columns / groupSize), rows]
  if (scales.shape.join() !== wanted.join()) {
    countGroups(columns, groupSize, words)
    throw misshapen(scales, wanted, words)
  }
  const zeros = tensors.take(`${module}.qzeros`, words, { dtypes: ['int32'], shape: [groups, (rows * bits) / 32] })
  return new StoredCodes({
    name: `${module}.weight`,
    dtype: `gptq-${bits}`,
    shape: [rows, columns],
    tensors: [words, scales, zeros, ...(indices ? [indices] : [])],
    scales(open) {
      const stored = readWords(zeros, open)
      // Quantisers subtract from whole words, so that a zero of 0 borrows from its neighbour.
      if (layout.zerosAreLess)
        for (let i = 0; i < stored.length; i++) stored[i]! += bits === 4 ? 0x11111111 : 0x01010101
      return {
        bits,
        groupSize,
        zeros: transposed(codesOfWords(stored, bits), groups, rows),
        scales: transposedFloats(readFinite(scales, open), groups, rows),
        groupOfColumn: indices && groupsOf(indices, groups, groupSize, words, open),
      }
    },
    arranged: (bytes) => new Uint8Array(transposed(wordsOf(bytes), wordRows, rows).buffer),
  })
}

/** Reads the group of each input, all but the last one full; null if they are in order. */
function groupsOf(
  indices: NamedTensor,
  groups: number,
  groupSize: number,
  words: NamedTensor,
  open: OpenFile,
): Int32Array | null {
  const [columns] = indices.shape as [number]
  const order = readGroups(indices, groups, groupSize, open)
  if (order !== null && columns % groupSize !== 0) {
    const inputs = new Array<number>(groups).fill(0)
    for (const group of order) inputs[group]!++
    if (inputs.slice(0, -1).some((count) => count !== groupSize)) countGroups(columns, groupSize, words)
  }
  return order
}
