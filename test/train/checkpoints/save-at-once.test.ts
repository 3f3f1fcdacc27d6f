/** Saving in the middle of a step, by a process that may be killed at any moment. */
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { AdamW } from '../../../lib/optim/adamw.js'
import type { TrainInput } from '../../../lib/options/index.js'
import { isByTime } from '../../../lib/train/checkpoints/checkpoint.js'
import { trainWith } from '../../../lib/train/train.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { TinyModel } from '../tiny-model.js'
import { rows, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()
const at = (name: string) => join(folder(), name)

const optionsOf = (name: string): TrainInput => ({
  data: writeRows(folder(), 'train.jsonl', rows(13)),
  output: at(name),
  batchSize: 4,
  maxSteps: 6,
  dropout: 0.2,
  learningRate: 0.05,
  seed: 7,
})

const checkpoints = (name: string) => readdirSync(join(at(name), 'checkpoints')).sort()
const adapterIn = (name: string) => readFileSync(join(at(name), 'adapter_model.safetensors')).toString('hex')
const metricsOf = (name: string) =>
  readFileSync(join(at(name), 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; loss: number })
    .map(({ step, loss }) => [step, loss])

type Call = () => void

/** A run that calls `during` in the fourth step's pass, and `after` between the update and the step's end. */
async function trained(name: string, { during, after }: { during?: (save: Call) => void; after?: Call } = {}) {
  let save: Call = () => {}
  let passes = 0
  const model = new TinyModel({
    onPass: (count) => {
      passes = count
      if (count === 4) during?.(save)
    },
  })
  const { step } = AdamW.prototype
  using _ = vi.spyOn(AdamW.prototype, 'step').mockImplementation(function (this: AdamW, options) {
    const norm = step.call(this, options)
    const item = norm.item.bind(norm)
    norm.item = () => {
      if (passes === 4) after?.()
      return item()
    }
    return norm
  })
  const onBegun = (saveAtOnce: Call) => {
    save = saveAtOnce
  }
  await trainWith(model, optionsOf(name), { onBegun }).finished
}

it('the last step is saved in the middle of the next one, and goes on to the same bits', async () => {
  await trained('whole')
  await trained('living', {
    during(save) {
      save()
      save()
      expect(checkpoints('living')).toEqual(['step-000003'])
      expect(isByTime(join(at('living'), 'checkpoints', 'step-000003'))).toBe(true)
      cpSync(at('living'), at('killed'), { recursive: true, filter: (path) => !path.endsWith('.lock') })
    },
  })
  // A run that continues keeps no trace of it.
  expect(checkpoints('living')).toEqual(['step-000006'])
  expect(adapterIn('living')).toBe(adapterIn('whole'))

  await trainWith(new TinyModel(), { ...optionsOf('killed'), resume: true }).finished
  expect(adapterIn('killed')).toBe(adapterIn('whole'))
  expect(metricsOf('killed')).toEqual(metricsOf('whole'))
  expect(checkpoints('killed')).toEqual(['step-000006'])
})

it('nothing is saved while an update is incomplete', async () => {
  let save: Call = () => {}
  await trained('out', {
    during: (told) => {
      save = told
    },
    after: () => {
      save()
      expect(() => checkpoints('out')).toThrow('ENOENT')
    },
  })
  expect(checkpoints('out')).toEqual(['step-000006'])
  // The run is over.
  save()
  expect(checkpoints('out')).toEqual(['step-000006'])
})
