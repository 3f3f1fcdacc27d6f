/** Options that change what a run keeps, or how it goes on, and combinations in which any two of their values meet. */

import { words } from '../cli/words.js'
import { filesOfModel } from '../fuzz/targets/tiny-model.js'
import { goldenPath } from '../golden/files.js'
import { writeFiles } from '../io/temporary.js'
import { testDevice } from '../operations/harness.js'
import { allPairs } from './pairs.js'

const rows = goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl')
const others = goldenPath('tiny-untied/training/lora-constant/rows.jsonl')
const multipliesInt8 = testDevice().facts().int8Products

/** Written in one text, or one by one where they name files. */
type Flags = string | readonly string[]

/** The tested values of each option, or of a few that belong together. */
const tried = {
  trained: {
    rotation: '--operator rotation',
    sharing: '--operator sharing',
    'merged every 3': '--merge-every 3',
    'merged every 2 and permuted': '--merge-every 2 --regroup permute',
    'merged every 3, in turn': '--merge-every 3 --cycle rotation,sharing',
    lora: '--method lora',
    'lora merged every 4': '--method lora --merge-every 4',
    dora: '--method dora',
    pissa: '--method pissa',
    'lora-plus': '--method lora-plus',
    miss: '--method miss',
    full: '--method full',
  },
  adapter: {
    plain: '--rank 2',
    dropout: '--rank 2 --dropout 0.2',
    modules: '--rank 3 --modules-to-save norms,head',
    products: multipliesInt8 ? '--rank 2 --compute int8' : '--rank 2 --target-modules q_proj,down_proj',
  },
  dtype: { float32: '--dtype float32', bfloat16: '--dtype bfloat16' },
  rate: {
    usual: '',
    linear: '--scheduler linear --warmup-ratio 0.3 --weight-decay 0.1',
    constant: '--scheduler constant --warmup-steps 2 --max-grad-norm 0',
    steep: '--scheduler cosine --min-learning-rate-ratio 0.2 --learning-rate 0.3 --beta2 0.9',
  },
  data: {
    one: ['--data', rows],
    two: ['--data', rows, '--data', others],
    'in order': ['--data', rows, '--no-shuffle'],
    short: ['--data', rows, '--max-length', '12', '--train-on', 'all'],
  },
  batch: {
    whole: '--batch-size 4 --max-steps 8',
    pieces: '--batch-size 4 --micro-batch-size 1 --max-steps 7',
    padded: '--batch-size 3 --no-packing --max-steps 8',
    epochs: '--batch-size 5 --epochs 1.7',
  },
  saved: {
    'at the end': '',
    'every step': '--save-every 1',
    'the newest of every 2': '--save-every 2 --keep-checkpoints 1',
    'all the time': '--save-minutes 1e-6',
    'every 3 and all the time': '--save-every 3 --save-minutes 1e-6 --keep-checkpoints 2',
  },
  evaluated: {
    never: '',
    'at the end': ['--eval-data', others],
    'every 2, the best kept': ['--eval-data', others, '--eval-every', '2', '--keep-best'],
    'until it is no better': ['--eval-data', others, '--eval-every', '1', '--patience', '2', '--keep-best'],
  },
  more: {
    nothing: '',
    samples: '--sample-prompt a --sample-every 3',
    tensorboard: '--tensorboard',
    recomputed: '--gradient-checkpointing --seed 7',
  },
} as const satisfies Record<string, Record<string, Flags>>

/** A model that trains in milliseconds. */
export async function writeTinyModel(folder: string): Promise<void> {
  writeFiles(folder, await filesOfModel((model, place) => model.save(place)))
}

export const trainTiny = (model: string, output: string, argv: readonly string[]): string[] => words`
  train --model ${model} --output ${output} --threads 1 ${argv}
`

const argumentsIn = (flags: Flags) =>
  typeof flags === 'string' ? flags.split(' ').filter((word) => word !== '') : flags

/** The name of a run, and its arguments. */
export interface Combination {
  name: string
  argv: string[]
}

/** For a table of tests. */
export const titled = (some: readonly Combination[]) => some.map(({ name, argv }): [string, string[]] => [name, argv])

/** Combinations that contain every pair of values of two options. */
export function combinations(seed: number): Combination[] {
  const lists = Object.entries(tried).map(([option, values]) => ({
    option,
    values: Object.entries(values) as [string, Flags][],
  }))
  return allPairs(
    lists.map(({ values }) => values.length),
    seed,
  ).map((indices) => {
    const chosen = lists.map(({ option, values }, i) => {
      const [name, flags] = values[indices[i]!]!
      return { option, name, flags }
    })
    const isFull = chosen[0]!.name === 'full'
    // Options of an adapter do not matter to a run without one.
    const used = chosen.filter(({ option }) => !(isFull && option === 'adapter'))
    return {
      name: used.map(({ option, name }) => `${option} ${name}`).join(', '),
      argv: used.flatMap(({ flags }) => argumentsIn(flags)),
    }
  })
}
