/** The reference's values of objectives of answers, and how ours are compared with them. */
import { expect } from 'vitest'
import type { Batch } from '../../lib/batches/batch.js'
import { type PackedRow, packBatch } from '../../lib/batches/packing.js'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import type { Objective } from '../../lib/objectives/objective.js'
import { type StepEvent, train } from '../../lib/train/index.js'
import { goldenJson, goldenPath } from './files.js'
import { loadTiny } from './tiny-models.js'

export interface GoldenPair {
  prompt: number[]
  chosen: number[]
  rejected: number[]
}

export interface GoldenCompletion {
  prompt: number[]
  completion: number[]
}

export interface GoldenCase<Row> {
  name: string
  options: Readonly<Record<string, unknown>>
  rows?: Row[]
  loss: number
  metrics: Readonly<Record<string, number>>
  gradient: { norm: number; norms: number[]; entries: number[][] }
}

export interface GoldenObjective<Row> {
  adapterTensors: string[]
  sampledEntries: number[][]
  rows: Row[]
  cases: GoldenCase<Row>[]
  training: {
    options: { beta: number; learningRate: number; warmupSteps: number; maxSteps: number; batchSize: number }
    rows: Row[]
    steps: ({ loss: number; gradNorm: number; learningRate: number } & Record<string, number>)[]
    finalLogps: Record<string, number[]>
  }
}

export const objectiveOf = <Row>(name: string) => goldenJson<GoldenObjective<Row>>(`objectives/${name}.json`)

/** The tiny model with the adapter from which every case starts: `start`, or with a head `reward-start`. */
export async function loadStart(adapter = 'start'): Promise<Model> {
  const model = await loadTiny('tiny-untied')
  await model.loadAdapter(goldenPath(`objectives/${adapter}`), 'start')
  return model
}

/** The model that distillation imitates. */
export const loadTeacher = (): Promise<Model> =>
  loadModel(goldenPath('objectives/teacher'), {
    device: process.env.MORA_TEST_DEVICE ?? 'cpu',
    dtype: 'float32',
    threads: 2,
  })

/** Tokens of an answer after its prompt. */
export const answerOf = (prompt: readonly number[], answer: readonly number[], maxLength = 1024) => {
  const ids = [...prompt, ...answer].slice(0, maxLength)
  return { ids, mask: ids.map((_, i) => Number(i >= prompt.length)) }
}

/** Both answers of each pair. */
export const answersOf = (rows: readonly GoldenPair[], maxLength?: number): PackedRow[] =>
  rows.flatMap(({ prompt, chosen, rejected }, row) =>
    [chosen, rejected].map((answer) => ({ ...answerOf(prompt, answer, maxLength), row })),
  )

/** The same, for objectives of judged answers: in some pairs the first is good. */
export const judgedAnswersOf = (rows: readonly GoldenPair[]): PackedRow[] =>
  answersOf(rows).map((one, i) => ({ ...one, label: Number(i % 2 === 0 && rows[one.row]!.chosen[0]! % 2 === 0) }))

export const batchOfPairs = (rows: readonly GoldenPair[], maxLength?: number): Batch =>
  packBatch(answersOf(rows, maxLength))

/** The name of a trained tensor in PEFT's files. */
export const nameInFile = (name: string): string => `base_model.model.${name.replace(/\.weight$/, '')}.weight`

export interface Evaluated {
  loss: number
  metrics: Record<string, number>
  /** By the names of PEFT. */
  gradients: Map<string, Float32Array>
}

/** Mean loss and gradient over batches, which are passes of one step. */
export async function evaluated(model: Model, objective: Objective, batches: readonly Batch[]): Promise<Evaluated> {
  const { stepSums: wanted } = objective
  const sums = wanted && new Array<number>(wanted.length).fill(0)
  for (const batch of wanted ? batches : []) {
    for (const [i, value] of (await wanted!.of(model, batch)).entries()) sums![i]! += value
  }
  let [total, divisor] = [0, 0]
  const metricSums = new Map<string, [number, number]>()
  for (const batch of batches) {
    const { loss, weight, metrics } = await objective.loss(model, batch, { gradients: true, stepSums: sums })
    if (loss.requiresGrad !== false) await loss.backward()
    total += await loss.item()
    divisor += weight
    loss.dispose()
    for (const [name, { sum, weight }] of Object.entries(metrics ?? {})) {
      const [a, b] = metricSums.get(name) ?? [0, 0]
      metricSums.set(name, [a + sum, b + weight])
    }
  }
  const gradients = new Map<string, Float32Array>()
  for (const { name, parameter } of model.trainableParameters()) {
    const values = (await parameter.grad!.data()) as Float32Array
    gradients.set(
      nameInFile(name),
      values.map((value) => value / divisor),
    )
    parameter.zeroGrad()
  }
  const metrics = Object.fromEntries([...metricSums].map(([name, [sum, weight]]) => [name, sum / weight]))
  return { loss: total / divisor, metrics, gradients }
}

const normOf = (values: Iterable<number>): number => Math.sqrt([...values].reduce((sum, value) => sum + value ** 2, 0))

/** Compares loss and gradient with the reference's, within what float32 allows. */
export function expectLikeGolden<Row>(golden: GoldenObjective<Row>, one: GoldenCase<Row>, got: Evaluated): void {
  expect(Math.abs(got.loss - one.loss) / Math.max(1, Math.abs(one.loss)), 'loss').toBeLessThan(1e-5)
  const { norm, norms, entries } = one.gradient
  const gradients = golden.adapterTensors.map((name) => got.gradients.get(name)!)
  expect(Math.abs(normOf(gradients.map(normOf)) - norm) / norm, 'norm of all gradients').toBeLessThan(1e-5)
  const largestNorm = Math.max(...norms)
  const largestEntry = Math.max(...entries.flat().map(Math.abs))
  for (const [i, name] of golden.adapterTensors.entries()) {
    expect(Math.abs(normOf(gradients[i]!) - norms[i]!) / largestNorm, `norm of ${name}`).toBeLessThan(1e-5)
    for (const [j, at] of golden.sampledEntries[i]!.entries()) {
      const difference = Math.abs(gradients[i]![at]! - entries[i]![j]!)
      expect(difference / largestEntry, `${name}[${at}]`).toBeLessThan(1e-5)
    }
  }
}

/** The events of the reference's training run. */
export async function trainLikeGolden<Row>(
  model: Model,
  { options: { beta, learningRate, warmupSteps, maxSteps, batchSize } }: GoldenObjective<Row>['training'],
  rest: { objective: 'dpo' | 'kto'; data: readonly object[] } & Readonly<Record<string, unknown>>,
): Promise<StepEvent[]> {
  const steps: StepEvent[] = []
  const course = { beta, learningRate, warmupSteps, maxSteps, batchSize, scheduler: 'linear', shuffle: false } as const
  const run = train(model, { method: 'lora', ...course, maxGradNorm: 1, ...rest } as Parameters<typeof train>[1])
  for await (const event of run) if (event.type === 'step') steps.push(event)
  await run.finished
  return steps
}

export const METRICS_OF_PAIRS = ['rewards/chosen', 'rewards/rejected', 'margins', 'accuracy']

/** Compares the metrics that the reference has, by our names. */
export function expectMetrics(
  got: Readonly<Record<string, number>>,
  wanted: Readonly<Record<string, number>>,
  names: readonly string[],
) {
  const theirs: Record<string, string> = { margins: 'rewards/margins', accuracy: 'rewards/accuracies' }
  for (const name of names) {
    const value = wanted[theirs[name] ?? name]
    if (value === undefined) expect(got[name], name).toBeNaN()
    else expect(Math.abs(got[name]! - value) / Math.max(1, Math.abs(value)), name).toBeLessThan(1e-5)
  }
}
