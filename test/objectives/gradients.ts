/** Properties that the loss of every objective has. */
import { expect } from 'vitest'
import type { Batch } from '../../lib/batches/batch.js'
import { type PackedRow, packBatch } from '../../lib/batches/packing.js'
import type { Model } from '../../lib/models/model.js'
import type { Objective } from '../../lib/objectives/objective.js'
import { largestDifference } from '../golden/files.js'
import { evaluated, nameInFile } from '../golden/objectives.js'

const direction = (i: number): number => 0.3 * Math.sin(i + 1)

/**
 * Compares the gradient with finite differences in one direction of all trained values.
 * @param isFixed whether what the step is known by has no gradient, such as z of KTO
 */
export async function expectFiniteDifferences(
  model: Model,
  objective: Objective,
  batch: Batch,
  isFixed = true,
): Promise<void> {
  const { gradients } = await evaluated(model, objective, [batch])
  const stepSums = isFixed ? await objective.stepSums?.of(model, batch) : undefined
  const lossAt = async () => {
    const { loss, weight } = await objective.loss(model, batch, { gradients: false, stepSums })
    const value = await loss.item()
    loss.dispose()
    return value / weight
  }
  let [slope, wanted] = [0, 0]
  const step = 2e-3
  const changed: [Float32Array, (values: Float32Array) => void][] = []
  for (const { name, parameter } of model.trainableParameters()) {
    const values = ((await parameter.data()) as Float32Array).slice()
    changed.push([values, (to) => parameter.assign(to)])
    const gradient = gradients.get(nameInFile(name))!
    for (let i = 0; i < values.length; i++) wanted += gradient[i]! * direction(i)
  }
  for (const sign of [1, -1]) {
    for (const [values, assign] of changed) assign(values.map((value, i) => value + sign * step * direction(i)))
    slope += (sign * (await lossAt())) / (2 * step)
  }
  for (const [values, assign] of changed) assign(values)
  expect(Math.abs(slope - wanted) / Math.max(1, Math.abs(wanted))).toBeLessThan(2e-3)
}

/** Compares loss, gradient and metrics of one batch with those of other ways to make the passes of the same step. */
export async function expectSameInPasses(
  model: Model,
  objective: Objective,
  batch: Batch,
  others: readonly (readonly Batch[])[],
): Promise<void> {
  const whole = await evaluated(model, objective, [batch])
  for (const batches of others) {
    const other = await evaluated(model, objective, batches)
    expect(Math.abs(other.loss - whole.loss)).toBeLessThan(1e-5)
    for (const [name, gradient] of whole.gradients) {
      expect(largestDifference(other.gradients.get(name)!, gradient), name).toBeLessThan(1e-5)
    }
    for (const [name, value] of Object.entries(whole.metrics)) {
      // The smallest and largest reward are those of a pass.
      const isOfPass = /\/m(in|ax)$/.test(name) && batches.length > 1
      if (!isOfPass) expect(other.metrics[name], name).toBeCloseTo(value, 4)
    }
  }
}

/** Compares loss and gradient of rows with the weights 1, 2, 0, 1, … with those of as many copies of each row. */
export async function expectWeightsLikeCopies(
  model: Model,
  objective: Objective,
  rows: readonly PackedRow[],
): Promise<void> {
  const weightOf = ({ row }: PackedRow) => [1, 2, 0][row] ?? 1
  const next = Math.max(...rows.map(({ row }) => row)) + 1
  const again = rows.filter((one) => weightOf(one) === 2).map((one) => ({ ...one, row: next }))
  const copies = await evaluated(model, objective, [packBatch([...rows.filter((one) => weightOf(one) > 0), ...again])])
  const weighted = rows.map((one) => ({ ...one, weight: weightOf(one) }))
  const inPasses = Array.from({ length: next }, (_, row) => packBatch(weighted.filter((one) => one.row === row)))
  for (const batches of [[packBatch(weighted)], [packBatch(weighted, { padTo: 30 })], inPasses]) {
    const got = await evaluated(model, objective, batches)
    expect(Math.abs(got.loss - copies.loss)).toBeLessThan(1e-5)
    for (const [name, gradient] of copies.gradients)
      expect(largestDifference(got.gradients.get(name)!, gradient), name).toBeLessThan(1e-5)
  }
}
