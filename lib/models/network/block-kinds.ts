/** Which blocks of a network are alike: what a pass computes of one, it computes of the others too, with other values. */
import type { Linear } from '../../nn/linear.js'
import type { Decoder } from './decoder.js'
import type { DecoderBlock } from './decoder-block.js'
import type { WeightSlot } from './weight-slot.js'

/**
 * The places of one block of each kind, in order. Blocks are of one kind where their plans differ in names only, their weights
 * lie alike in memory, equal adapters are beside the same layers, and a backward pass comes to all of them or to none.
 */
export function oneOfEachKind(decoder: Decoder): number[] {
  const { blocks } = decoder
  const first = decoder.firstTrained() ?? Number.POSITIVE_INFINITY
  const places = new Map<string, number>()
  for (const [place, block] of blocks.entries()) {
    const kind = withoutNames(JSON.stringify([factsOf(block), place + 1 >= first]))
    if (!places.has(kind)) places.set(kind, place)
  }
  return [...places.values()]
}

function factsOf(block: DecoderBlock): unknown {
  const groups = [block.attention.projections, block.mlp.projections]
  return {
    plan: block.plan,
    weights: block.slots.map(weightFacts),
    fused: groups.map(({ fused }) => fused !== null),
    adapters: block.linears().map(adapterFacts),
  }
}

function weightFacts({ current: { storage, tensors, parameter } }: WeightSlot): unknown {
  return [storage, tensors.map(({ dtype, shape }) => [dtype, shape]), parameter !== null]
}

function adapterFacts(linear: Linear): unknown {
  return linear
    .activeAdapters()
    .map(({ layer }) => [layer.constructor.name, layer.parameters.map(({ shape }) => shape)])
}

/** Of JSON. In a string, quotes have a backslash before them. */
function withoutNames(json: string): string {
  return json.replaceAll(/"name":"[^"]*"/g, '')
}
