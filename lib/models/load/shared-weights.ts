/** Loading a base that the ranks of a machine have in memory once: each matrix is read by one of them. */
import type { HostMemory } from '../../tensor/host-memory.js'
import { allOrNothing } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import { networkUnits } from '../network/units.js'
import { type MatrixFacts, matrixIn, readGroup } from './grouped-weights.js'
import type { Weights } from './weights.js'

/** Where a group lies in the part of the rank that has read it. */
interface GroupFacts {
  /** The first matrix's. */
  readonly name: string
  readonly offset: number
  readonly bytes: number
  readonly matrices: readonly MatrixFacts[]
}

/**
 * Reads this rank's share of a network's matrices into memory that others map too, and maps theirs.
 * @param weights reads the matrices, and gets all of them
 * @param betweenGroups is awaited again and again; where it throws, loading ends
 */
export async function readShared(
  weights: Weights,
  memory: HostMemory,
  betweenGroups: () => Promise<void>,
): Promise<void> {
  const own = await shareOf(weights, memory, betweenGroups).catch((error: unknown) => {
    memory.close()
    throw error
  })
  const parts = await memory.exchange(weights.device, own)
  try {
    for (const { memory, facts } of parts)
      for (const group of facts) weights.put([group.name], matricesIn(memory, group))
    weights.isShared = true
  } finally {
    for (const part of parts) part.memory.dispose()
  }
}

/** Fills this rank's part. */
async function shareOf(
  weights: Weights,
  memory: HostMemory,
  betweenGroups: () => Promise<void>,
): Promise<GroupFacts[]> {
  const facts: GroupFacts[] = []
  for (const [turn, { groups }] of networkUnits(weights.config).entries()) {
    if (turn % memory.readers !== memory.place) continue
    for (const names of groups) {
      await betweenGroups()
      let offset = 0
      const make = (bytes: number) => {
        const added = memory.add(weights.device, bytes)
        offset = added.offset
        return added.memory
      }
      const { matrices, all } = allOrNothing(() => readGroup(weights, names, 1, make))
      facts.push({ name: names[0]!, offset, bytes: all.elements, matrices })
      all.dispose()
    }
  }
  await weights.device.synchronize()
  return facts
}

function matricesIn(memory: Tensor, { offset, bytes, matrices }: GroupFacts) {
  using group = memory.view([bytes], [1], offset)
  return matrices.map((one) => matrixIn(group, one))
}
