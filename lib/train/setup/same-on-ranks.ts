/** Facts that have to be the same on all ranks of a run. */

import { createHash } from 'node:crypto'
import { optionFacts, TrainSchema } from '../../options/index.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { RunRows } from '../rows.js'
import { type RunFacts, shown } from '../run-facts.js'

/** Options that may differ between ranks, such as paths and parts of a machine: their contents are compared instead. */
const OWN = new Set([
  'model',
  'data',
  'evalData',
  'output',
  'adapter',
  'init',
  'teacher',
  'template',
  'tools',
  'device',
  'threads',
  'memory',
])

/** Returns the facts of this rank by name; the first that differs is reported, so the order matters. */
export async function factsToCompare(
  { versions, options, machine, hashes, functions, trainable }: RunFacts,
  parameters: readonly Parameter[],
  { firstRows }: Pick<RunRows, 'firstRows'>,
): Promise<[name: string, value: string][]> {
  const { model, data, evalData, ...ofObjective } = hashes
  const hash = createHash('sha256')
  for (const parameter of parameters) hash.update((await parameter.data()) as Float32Array)
  const facts: Record<string, unknown> = {
    ...versions,
    ...Object.fromEntries(Object.entries(options).filter(([name]) => !OWN.has(name) && !isOfCall(name))),
    'a device of kind': machine.device,
    dtype: machine.dtype,
    'a model with sha256': model,
    'data with sha256': data,
    'first rows with sha256': firstRows,
    'evaluation data with sha256': evalData ?? 'none',
    ...Object.fromEntries(
      Object.entries(functions ?? {}).map(([name, hash]) => [`functions of ${name} with sha256`, hash]),
    ),
    ...Object.fromEntries(Object.entries(ofObjective).map(([name, hash]) => [`${name} with sha256`, hash])),
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
