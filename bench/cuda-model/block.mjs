// The cost of adapters beside the linear layers of one block, ours and the reference's.
import { squareSide } from 'node-mora'
import { linears, llamaBlocks } from './llama.mjs'
import { baseLaunches, referenceLaunches } from './reference.mjs'
import { totalMicroseconds } from './roofline.mjs'
import { traced } from './run-trace.mjs'

/** Microseconds of the seven frozen products of a block, forward and backward. */
export const frozenMicroseconds = (tokens) => totalMicroseconds(linears.flatMap((layer) => baseLaunches(layer, tokens)))

/** Predictions for `cases`, each `{operator, rank, …}`; times in microseconds. */
export function predictBlocks(cases, tokens) {
  const { forward, backward } = traced('trace-block.mjs', { tokens, operator: null })
  const frozen = totalMicroseconds(forward) + totalMicroseconds(backward)
  return cases.map((one) => predictBlock(one, tokens, frozen))
}

function predictBlock(one, tokens, frozen) {
  const { operator, rank } = one
  const phases = traced('trace-block.mjs', { tokens, operator, rank, merge: true, block: true })
  const time = timesOf(phases)
  const withoutWindows = timesOf(traced('trace-block.mjs', { tokens, operator, rank, windows: false }))
  const added = ({ forward, backward, perStep }) => (100 * (forward + backward + perStep - frozen)) / frozen
  const reference = linears.flatMap((layer) => {
    const side = squareSide(layer.inFeatures, layer.outFeatures, rank, operator)
    const launches = referenceLaunches(operator, layer, side, tokens)
    return [...launches.forward, ...launches.backward]
  })
  return {
    ...one,
    /** In percent of the frozen products. */
    referenceAdds: (100 * totalMicroseconds(reference)) / frozenMicroseconds(tokens),
    adds: added(time),
    /** The same where sections are read as stored, not in aligned windows. */
    addsWithoutWindows: added(withoutWindows),
    forward: time.forward,
    backward: time.backward,
    /** Work that is done once per optimizer step. */
    perStep: time.perStep,
    /** Merging all targets of the model. */
    merge: time.merge * llamaBlocks,
    launches: { forward: phases.forward.length, backward: phases.backward.length },
    /** Launches of a whole block's forward pass that are not products. */
    blockKernels: phases.block.filter(({ kind }) => kind !== 'product').length,
    phases,
  }
}

/** @param {Record<string, any[]>} phases */
function timesOf(phases) {
  /** @type {any} */
  const time = Object.fromEntries(Object.entries(phases).map(([name, list]) => [name, totalMicroseconds(list)]))
  return { ...time, perStep: Math.max(0, time.first - time.forward - time.backward) }
}
