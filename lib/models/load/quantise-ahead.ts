import { setImmediate as nextTurn } from 'node:timers/promises'
import type { NativeDevice } from '../../native/addon.js'
import type { Weight } from '../../tensor/weight.js'
import { linearGroups } from '../network/plan.js'
import type { ModelSource } from '../read/model-source.js'
import type { KeptWeights } from './weights.js'

/** Matrices that wait for the model that they are made for. */
export interface WaitingWeights extends KeptWeights {
  /** Frees those that no model has taken. */
  dispose(): void
}

/** Quantises the matrices of a source between turns of the event loop, in which a signal may be aborted. */
export async function quantiseAhead(
  source: ModelSource,
  device: NativeDevice,
  signal: AbortSignal | undefined,
): Promise<WaitingWeights> {
  const waiting = new Map<string, Weight>()
  const dispose = () => {
    for (const weight of waiting.values()) weight.dispose()
    waiting.clear()
  }
  const make = async (names: readonly string[]): Promise<boolean> => {
    await nextTurn()
    signal?.throwIfAborted()
    const weight = source.loadKept(names, device)
    if (weight) waiting.set(names.join(), weight)
    return weight !== null
  }
  try {
    for (const group of linearGroups(source.config.network)) {
      const names = group.map(({ name }) => `${name}.weight`)
      const formats = new Set(names.map((name) => source.keptFormat(name)))
      if (formats.size === 1 && !formats.has(null) && (await make(names))) continue
      for (const name of names) if (source.keptFormat(name) !== null) await make([name])
    }
  } catch (error) {
    dispose()
    throw error
  }
  return {
    format: (name) => source.keptFormat(name),
    load(names) {
      const weight = waiting.get(names.join()) ?? null
      waiting.delete(names.join())
      return weight
    },
    dispose,
  }
}
