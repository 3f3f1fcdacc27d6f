import { z } from 'zod'
import { type Batch, boundsOf, documentWeights, rowOfDocument, totalWeight } from '../batches/batch.js'
import { type Dataset, loadDataset } from '../batches/dataset.js'
import type { Document, Example } from '../batches/examples/example.js'
import { packBatch } from '../batches/packing.js'
import { choices, optionalReal } from '../schema/option.js'
import type { LibraryInput } from '../schema/option-facts.js'
import { parseOptions, plainOptions } from '../schema/parse.js'
import { mul, sigmoid, sub } from '../tensor/operations/arithmetic.js'
import { sum } from '../tensor/operations/reductions.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { AnswersOfBatch, keptReference, logRatiosOf, referenceFields, referenceLogProbs } from './answers.js'
import { oneMinus } from './formulas.js'
import {
  type BuiltInObjective,
  type ForwardModel,
  type LossOptions,
  type Objective,
  type ObjectiveRows,
  TWO_TOKENS,
  tokenLogProbs,
} from './objective.js'
import { meanSum } from './weighted-sum.js'

export const KtoSchema = z.strictObject({
  beta: optionalReal('how much leaving the reference costs', { above: 0, defaultText: '0.1' }),
  lossType: choices("the loss by TRL's name", ['kto', 'apo_zero_unpaired'], { most: 1, defaultText: 'kto' }),
  desirableWeight: optionalReal('weight of good answers', { min: 0, defaultText: '1' }),
  undesirableWeight: optionalReal('weight of bad answers', { min: 0, defaultText: '1' }),
  ...referenceFields,
})

/** Options of Kahneman-Tversky optimisation, with the defaults of TRL. */
export type KtoOptions = LibraryInput<typeof KtoSchema>

/**
 * Kahneman-Tversky optimisation (arXiv 2402.01306, equation 8): w (1 − σ(±β (r − z))) of answers that are judged good (+) or bad (−),
 * with r = ln π(y) − ln π_ref(y) and z = max(0, mean of r over answers to other prompts), which has no gradient. The mean is over all
 * rows of a step: each row's prompt with the answer of another row. `lossType: ['apo_zero_unpaired']` (arXiv 2408.06266) has z = 0.
 * The reference is the model without the adapter that is trained. Each row of a batch is two documents: the judged answer, then the
 * answer of another row.
 * @throws UsageError for an option of the wrong type or range
 */
export function kto(options: KtoOptions = {}): Objective {
  return { ...ktoInRuns(options, 8), prepare: ({ batchSize }) => ktoInRuns(options, batchSize) }
}

/** @param run rows of the data set that exchange their answers */
function ktoInRuns(options: KtoOptions, run: number): Objective {
  const settings = parseOptions(KtoSchema, options)
  const { referenceAdapter, beta = 0.1, lossType = [], desirableWeight = 1, undesirableWeight = 1 } = settings
  const [type = 'kto'] = lossType
  const hasOthers = type === 'kto'
  const divergence = async (model: ForwardModel, batch: Batch, { kept }: Pick<LossOptions, 'kept'> = {}) => {
    const how = { gradients: false, kept }
    const others = documents(batch, 1)
    const { ratios, sums } = await logRatios(model, referenceAdapter, others, how)
    sums.dispose()
    const values = await valuesOf(ratios)
    const weights = documentWeights(others, values.keys())
    const total = values.reduce((total, value, i) => total + value * (weights?.[i] ?? 1), 0)
    return [total, totalWeight(weights, values.length)]
  }
  return {
    name: 'kto',
    options: plainOptions(options),
    rows: 'judged',
    metrics: ['rewards', 'rewards/chosen', 'rewards/rejected', 'accuracy', 'kl', 'logps/chosen', 'logps/rejected'],
    smallRow: [TWO_TOKENS, TWO_TOKENS],
    load: async (source, how) => withOthers(await loadDataset([...source], how), run, how.maxLength),
    ...(hasOthers && { stepSums: { length: 2, of: divergence } }),
    ...(settings.precomputeReference && { keep: keptReference(referenceAdapter) }),
    async loss(model, batch, how) {
      const [total = 0, count = 1] = hasOthers ? (how.stepSums ?? (await divergence(model, batch, how))) : []
      const z = Math.max(0, total / count)
      const judged = documents(batch, 0)
      const good = Array.from({ length: judged.rows }, (_, row) => judged.labels?.[row] === 1)
      const ofRows = documentWeights(judged, good.keys())
      const { ratios, sums } = await logRatios(model, referenceAdapter, judged, how)
      const loss = scope(() => {
        const constant = (of: (isGood: boolean, row: number) => number) =>
          Tensor.from(Float32Array.from(good, of), [good.length], { device: ratios.device })
        const signs = constant((isGood) => (isGood ? beta : -beta))
        const weights = constant((isGood, row) => (isGood ? desirableWeight : undesirableWeight) * (ofRows?.[row] ?? 1))
        return sum(mul(oneMinus(sigmoid(mul(sub(ratios, z), signs))), weights))
      })
      const rewards = (await valuesOf(ratios)).map((ratio) => beta * ratio)
      const logps = await valuesOf(sums)
      const [chosen, rejected] = [true, false].map((wanted) => (_: number, i: number) => good[i] === wanted)
      const metrics = {
        rewards: meanSum(rewards),
        'rewards/chosen': meanSum(rewards.filter(chosen!)),
        'rewards/rejected': meanSum(rewards.filter(rejected!)),
        accuracy: meanSum(rewards.map((reward, i) => Number(reward > beta * z === good[i]))),
        kl: { sum: z * good.length, weight: good.length },
        'logps/chosen': meanSum(logps.filter(chosen!)),
        'logps/rejected': meanSum(logps.filter(rejected!)),
      }
      return { loss, weight: totalWeight(ofRows, good.length), metrics }
    },
  }
}

export const ktoObjective = {
  name: 'kto',
  help: 'learns from answers that are judged good or bad',
  schema: KtoSchema,
  rows: 'judged',
  make: kto,
  needsReference: () => true,
} as const satisfies BuiltInObjective

/** Returns ln π − ln π_ref of each document's answer and ln π itself, [documents]. */
async function logRatios(
  model: ForwardModel,
  adapter: string | undefined,
  batch: Batch,
  { gradients, kept }: Pick<LossOptions, 'gradients' | 'kept'>,
) {
  const known = kept?.(batch)
  using before = known ? null : await referenceLogProbs(model, adapter, batch)
  using after = await tokenLogProbs(model, batch, { gradients })
  const answers = new AnswersOfBatch(
    batch,
    Array.from({ length: batch.rows }, (_, row) => row),
    batch,
  )
  return scope(() => ({ ratios: answers.sums(logRatiosOf(after, known ?? before!)), sums: answers.sums(after) }))
}

async function valuesOf(tensor: Tensor): Promise<number[]> {
  const values = Array.from(await tensor.data(), Number)
  tensor.dispose()
  return values
}

/** Returns the first (0) or second (1) document of each row of the batch, as a batch. */
function documents(batch: Batch, which: 0 | 1): Batch {
  const { ids, targets, labels, rows } = batch
  const own = Array.from({ length: rows / 2 }, (_, i) => 2 * i + which)
  return packBatch(
    own.map((document) => {
      const [start, end] = boundsOf(batch, document)
      const predicted = Array.from(targets.subarray(start, end - 1), (target) => Number(target >= 0))
      const own = { label: labels?.[document] ?? 0, weight: batch.weights?.[document] ?? 1 }
      return { ids: ids.subarray(start, end), mask: [0, ...predicted], ...own, row: rowOfDocument(batch, document) }
    }),
  )
}

/** Adds to each row its prompt with the answer of the row before it; the first of each run of rows gets that of the last. */
function withOthers(data: Dataset, run: number, maxLength?: number): ObjectiveRows {
  const partsOf = (index: number) => {
    const first = index - (index % run)
    const other = index > first ? index - 1 : Math.min(first + run, data.length) - 1
    const example = data.row(index)
    const [own, before] = [example, data.row(other)].map(({ documents }) => documents[0]!) as [Document, Document]
    const [prompt, answer] = [own, before].map(({ mask }) => mask.indexOf(1, 1)) as [number, number]
    return { example, own, before, prompt, answer }
  }
  const row = (index: number): Example => {
    const { example, own, before, prompt, answer } = partsOf(index)
    const ids = [...own.ids.subarray(0, prompt), ...before.ids.subarray(answer)]
    const mask = [...new Uint8Array(prompt), ...before.mask.subarray(answer)]
    const other = { ids: Int32Array.from(ids.slice(0, maxLength)), mask: Uint8Array.from(mask.slice(0, maxLength)) }
    return { ...example, documents: [own, other] }
  }
  // Every row is measured before the first step, so no document is made for it.
  const rowLength = (index: number) => {
    const { own, before, prompt, answer } = partsOf(index)
    const length = prompt + before.ids.length - answer
    return own.ids.length + Math.min(length, maxLength ?? length)
  }
  const { length, parts, hash, summary } = data
  return { length, parts, hash, summary, rowLength, row }
}
