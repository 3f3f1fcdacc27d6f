/** Finds the blocks of a network that are alike: a pass makes the same operations in them, with other values. */
import type { Linear } from '../../nn/linear.js'
import type { Decoder } from './decoder.js'
import type { DecoderBlock } from './decoder-block.js'
import type { WeightSlot } from './weight-slot.js'

/**
 * Returns the indices of one block of each kind, in order. Blocks are of one kind if their plans differ in names only, their
 * weights are stored alike, the same layers have equal adapters, and a backward pass reaches all of them or none.
 */
export function oneOfEachKind(decoder: Decoder): number[] {
  const { blocks } = decoder
  const first = decoder.firstTrained() ?? Number.POSITIVE_INFINITY
  const places = new Map<string, number>()
  for (const [place, block] of blocks.entries()) {
    const kind = withoutNames(JSON.stringify([formOf(block), place + 1 >= first]))
    if (!places.has(kind)) places.set(kind, place)
  }
  const sources = [...places.values()].flatMap((place) => blocks[place]!.source ?? [])
  return [...new Set([...sources, ...places.values()])].sort((a, b) => a - b)
}

function formOf(block: DecoderBlock): unknown {
  const groups = [block.mixer.projections, block.mlp.projections]
  return {
    plan: block.plan,
    weights: block.slots.map(weightForm),
    fused: groups.map(({ fused }) => fused !== null),
    adapters: block.linears().map(adapterForms),
  }
}

function weightForm({ current: { storage, tensors, parameter } }: WeightSlot): unknown {
  return [storage, tensors.map(({ dtype, shape }) => [dtype, shape]), parameter !== null]
}

function adapterForms(linear: Linear): unknown {
  return linear
    .activeAdapters()
    .map(({ layer }) => [layer.constructor.name, layer.parameters.map(({ shape }) => shape)])
}

/** Matches in JSON: in a string, quotes have a backslash before them. */
function withoutNames(json: string): string {
  return json.replaceAll(/"name":"[^"]*"/g, '')
}
