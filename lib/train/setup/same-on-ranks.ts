/** What has to be the same on all ranks of a run. */
import { createHash } from 'node:crypto'
import { optionFacts, TrainSchema } from '../../options/index.js'
import { type RunFacts, shown } from '../checkpoints/run-facts.js'
import type { TrainedParameter } from '../trainable.js'

/** Paths and parts of a machine, of which each rank may have its own: what they lead to is compared. */
const OWN = new Set([
  'model',
  'data',
  'evalData',
  'output',
  'adapter',
  'init',
  'template',
  'tools',
  'device',
  'threads',
  'memory',
])

/** By name, in the order in which a difference is worth telling. */
export async function factsOfRank(
  { versions, options, machine, hashes, trainable }: RunFacts,
  parameters: readonly TrainedParameter[],
): Promise<[name: string, value: string][]> {
  const hash = createHash('sha256')
  for (const parameter of parameters) hash.update((await parameter.data()) as Float32Array)
  const facts: Record<string, unknown> = {
    ...versions,
    ...Object.fromEntries(Object.entries(options).filter(([name]) => !OWN.has(name) && !isOfCall(name))),
    'a device of kind': machine.device,
    dtype: machine.dtype,
    'a model with sha256': hashes.model,
    'data with sha256': hashes.data,
    'evaluation data with sha256': hashes.evalData ?? 'none',
    'trained values': trainable.parameters,
    'trained weights with sha256': hash.digest('hex'),
  }
  return Object.entries(facts)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, shown(value)])
}

function isOfCall(name: string): boolean {
  const { shape } = TrainSchema
  return Object.hasOwn(shape, name) && optionFacts(shape[name as keyof typeof shape]).scope === 'call'
}
