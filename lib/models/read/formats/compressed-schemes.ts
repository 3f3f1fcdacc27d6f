/** How compressed-tensors' configurations say that the weights of some layers are quantised. */
import { isJsonObject, type JsonObject } from '../../../io/json.js'
import { ConfigReader } from '../../families/config-reader.js'
import { inLowerCase } from './format.js'
import { requireScaleShape, type ScaleBlock } from './fp8.js'
import { countGroups, type NamedTensor } from './tensors.js'

/** Those whose weights are understood. */
export const compressedFormats = [
  'pack-quantized',
  'int-quantized',
  'float-quantized',
  'naive-quantized',
  'mixed-precision',
]

/** How the weights of some layers are quantised. */
export interface Scheme {
  readonly type: 'int' | 'float'
  readonly bits: 4 | 8
  readonly block: ScaleBlock
}

export function readSchemes(settings: ConfigReader): Scheme[] {
  const groups = settings.value('config_groups')
  if (!isJsonObject(groups)) throw settings.malformed('config_groups', 'an object', groups)
  return Object.entries(groups).flatMap(([name, group]) => {
    const weights = isJsonObject(group) ? (group.weights ?? null) : undefined
    if (weights === null) return []
    if (!isJsonObject(weights)) throw settings.malformed(`config_groups.${name}.weights`, 'an object', weights)
    const { format = null } = group as JsonObject
    const read = new ConfigReader(
      inLowerCase({ ...weights, format }),
      `${settings.source}.config_groups.${name}.weights`,
    )
    read.require('format', compressedFormats, compressedFormats[0])
    read.require('type', ['int', 'float'], 'int')
    const type = (read.value('type') ?? 'int') as Scheme['type']
    read.require('num_bits', type === 'int' ? [4, 8] : [8], 8)
    // The order of columns is told by a tensor that says the group of each.
    read.require('actorder', [false, true, 'group', 'weight', 'static', 'dynamic'], false)
    return [{ type, bits: read.integer('num_bits', 8) as 4 | 8, block: blockOf(read) }]
  })
}

function blockOf(read: ConfigReader): ScaleBlock {
  const { group_size: size = null } = read.json
  const implied = size === null ? 'tensor' : size === -1 ? 'channel' : 'group'
  read.require('strategy', ['tensor', 'channel', 'group', 'block'], implied)
  switch (read.value('strategy') ?? implied) {
    case 'tensor':
      return [null, null]
    case 'channel':
      return [1, null]
    case 'group':
      return [1, read.integer('group_size')]
    default: {
      const block = read.value('block_structure')
      // Older files have it as 128x128.
      const sizes = typeof block === 'string' ? block.split('x').map(Number) : block
      return new ConfigReader({ block_structure: sizes }, read.source).integers('block_structure', 2) as [
        number,
        number,
      ]
    }
  }
}

/** The scheme whose scales have the shape of those there; null where there is none to choose from. */
export function schemeFor(
  scales: NamedTensor,
  [rows, columns]: readonly [number, number],
  schemes: readonly Scheme[],
  of: NamedTensor,
) {
  const sized = schemes.map(({ bits, block }) => ({
    bits,
    rowsPerScale: block[0] ?? rows,
    groupSize: block[1] ?? columns,
  }))
  const shapes = sized.map(({ rowsPerScale, groupSize }) => [
    Math.ceil(rows / rowsPerScale),
    Math.ceil(columns / groupSize),
  ])
  const without = (shape: readonly number[]) => shape.filter((size) => size !== 1).join()
  // Blocks of two dimensions may be smaller at the edge, and inputs fewer than a group has.
  const isWhole = ({ rowsPerScale, groupSize }: (typeof sized)[number]) =>
    rowsPerScale > 1 || columns < groupSize || columns % groupSize === 0
  const at = shapes.findIndex((shape, i) => isWhole(sized[i]!) && without(shape) === without(scales.shape))
  if (at >= 0 || sized.length === 0) return sized[at] ?? null
  if (!isWhole(sized[0]!)) countGroups(columns, sized[0]!.groupSize, of)
  requireScaleShape(scales, shapes[0]!, of)
  return null
}
