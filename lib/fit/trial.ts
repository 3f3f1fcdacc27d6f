/** The time of a step, from a short trial with one block of each kind. */
import { RunError } from '../common/errors.js'
import type { ModelConfig } from '../models/network/model-config.js'
import { type DecoderBlockPlan, linearGroups, weightShapes } from '../models/network/plan.js'
import type { ModelSource } from '../models/read/model-source.js'
import { elementsOf, type NativeDevice } from '../native/addon.js'
import { AdamW } from '../optim/adamw.js'
import { newAdapterOptions, type TrainSettings } from '../options/index.js'
import { freeMemory } from '../tensor/memory-budget.js'
import { keep } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { planModel } from '../train/setup/plan-model.js'
import { objectiveOfRun } from '../train/setup/run-objective.js'
import { batchOf, type Counted, passOf, sumOf } from './count.js'
import { makeModel, type RunToFit } from './run-model.js'

/** Seconds that the longest pass of the trial may take; there are two of them. */
const PASS_SECONDS = 3
/** Tokens of the passes that show how fast the device is. */
const PROBE_TOKENS = 32

/**
 * Returns the seconds of a step. The trial's model has one block of each kind, with the weights of its file. A pass goes through them
 * once, another several times: the difference is the time of blocks, and all blocks take as many times as long as they have more weights.
 * Tokens and times are as many as seconds allow; a step takes as many times as long as it has more counted products.
 */
export async function secondsOfStep(run: RunToFit, counted: Counted, device: NativeDevice): Promise<number | null> {
  // A part of the model is another base to adapters.
  const options = {
    ...run.options,
    quantised: counted.quantised?.kept ?? run.options.quantised,
    allowOtherBase: true,
  }
  let share = 1
  using model = await makeModel(
    { ...run, options, readsRows: false },
    {
      device,
      network(config, source) {
        const { blocks } = config.network
        const kinds = oneOfEachKind(blocks, source)
        share = weightsOf(blocks) / weightsOf(kinds)
        const part = { ...config, network: { ...config.network, blocks: needsAll(blocks, options) ? blocks : kinds } }
        requireRoom(part, device, options)
        return part
      },
      read: (source) => ({
        loadInto: (name, target) => source.loadInto(name, target),
        keptFormat: (name) => source.keptFormat(name),
        loadKept: (names, on) => source.loadKept(names, on),
      }),
      fill: fillRandomly,
      decide: (decision) => decision(),
    },
  )
  const { passes, hold } = model.holdForTraining()
  const undo: (() => unknown)[] = []
  try {
    const { objective } = await objectiveOfRun(model, options, {}, undo)
    await hold.change(() =>
      planModel(model, options, () => {}).make(objective.labels && (options.labels ?? ['0', '1'])),
    )
    passes.gradientCheckpointing = model.gradientCheckpointing
    passes.compute = model.compute
    passes.setDropout({ seed: options.seed, step: 1, neftuneAlpha: options.neftuneAlpha })
    const parameters = model.trainableParameters().map(({ parameter }) => parameter)
    const optimizer = new AdamW(parameters, options)
    undo.push(() => optimizer.dispose())
    const { pass } = counted
    const secondsOf = (lengths: readonly number[], times: number) => {
      const batch = batchOf(lengths, pass.documents)
      return timed(device, () => passOf(objective, passes.trial(times), batch))
    }
    const longest = Math.max(...pass.lengths)
    const probe = [Math.min(PROBE_TOKENS, longest)]
    // The first use of memory takes time that later steps do not need.
    await secondsOf(probe, 2)
    const [short, longer] = [await secondsOf(probe, 1), await secondsOf(probe, 2)]
    const tokens = Math.min(sumOf(pass.lengths), Math.ceil((PASS_SECONDS * probe[0]!) / longer))
    const length = Math.min(longest, Math.max(2, tokens))
    const lengths = Array.from({ length: Math.max(1, Math.floor(tokens / length)) }, () => length)
    const scale = probe[0]! / sumOf(lengths)
    const more = (PASS_SECONDS * scale - short) / Math.max(longer - short, short / 100)
    const times = Math.max(2, Math.min(Math.floor(1 + more), Math.round(share)))
    await secondsOf(lengths, times)
    const [once, often] = [await secondsOf(lengths, 1), await secondsOf(lengths, times)]
    const update = await timed(device, async () => {
      const norm = optimizer.step({ learningRate: 0, maxGradNorm: options.maxGradNorm })
      await norm.item()
      norm.dispose()
    })
    const all = once + (Math.max(0, often - once) / (times - 1)) * (share - 1)
    const own = parameters.reduce((sum, { elements }) => sum + elements, 0)
    return (
      (all * productsOfStep(counted)) / productsOf(counted, sumOf(lengths), length) + (update * counted.trained) / own
    )
  } finally {
    hold.end()
    for (const each of undo) await each()
  }
}

/** Throws where even the trial does not fit. Trained weights also have gradients and moments. */
function requireRoom(config: ModelConfig, device: NativeDevice, options: TrainSettings): void {
  const values = sumOf([...weightShapes(config).values()].map(elementsOf))
  const bytes = values * (newAdapterOptions(options).method === 'full' ? 20 : 4)
  if (bytes > freeMemory(device)) throw new RunError('out-of-memory', 'The trial of a step does not fit.')
}

async function timed(device: NativeDevice, work: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await work()
  await device.synchronize()
  return (performance.now() - start) / 1000
}

/** Returns the floating-point operations of passes with so many tokens, in rows of a length. */
function productsOf({ pass }: Counted, tokens: number, length: number): number {
  const { lengths, products, attention } = pass
  const all = sumOf(lengths)
  const usual = sumOf(lengths.map((one) => one ** 2)) / all
  return (tokens / all) * (products + (attention * length) / usual)
}

function productsOfStep(counted: Counted): number {
  const { lengths } = counted.pass
  return productsOf(counted, counted.stepTokens, sumOf(lengths.map((one) => one ** 2)) / sumOf(lengths))
}

/** Whether blocks name others by their places, or adapters in folders name the layers of all. */
function needsAll(blocks: readonly DecoderBlockPlan[], { adapter, referenceAdapter }: TrainSettings): boolean {
  return (
    adapter !== undefined || referenceAdapter !== undefined || blocks.some((block) => sourceOf(block) !== undefined)
  )
}

/** Returns the place of the block whose keys and values a block reads. */
const sourceOf = ({ mixer }: DecoderBlockPlan): number | undefined =>
  mixer.kind === 'attention' ? mixer.source : undefined

/** Returns one block of each kind, as passes of the trial go through them; blocks differ in plans, or in how files store them. */
function oneOfEachKind(blocks: readonly DecoderBlockPlan[], source: ModelSource | null): readonly DecoderBlockPlan[] {
  const kinds = new Map<string, DecoderBlockPlan>()
  for (const block of blocks) {
    const layers = linearGroups(block).flat()
    const formats = layers.map(({ name }) => source?.keptFormat(`${name}.weight`))
    const kind = JSON.stringify([block, formats]).replaceAll(/"name":"[^"]*"/g, '')
    if (!kinds.has(kind)) kinds.set(kind, block)
  }
  const sources = [...kinds.values()].flatMap((block) => blocks[sourceOf(block) ?? -1] ?? [])
  return [...new Set([...sources, ...kinds.values()])]
}

/** Returns the number of weights of the linear layers of blocks. */
function weightsOf(blocks: readonly DecoderBlockPlan[]): number {
  const layers = blocks.flatMap((block) => linearGroups(block).flat())
  return sumOf(layers.map(({ outFeatures, inFeatures }) => outFeatures * inFeatures))
}

/** Values that fill weights, repeated: products of zeros are not as fast as others on every processor. */
const PATTERN = Float32Array.from({ length: 2 ** 16 }, (_, i) => 0.04 * Math.sin(i * i))

function fillRandomly(target: Tensor): void {
  const { device, elements } = target
  using pattern = keep(Tensor.from(PATTERN, [PATTERN.length], { device }))
  using flat = keep(target.view([elements]))
  for (let from = 0; from < elements; from += PATTERN.length) {
    const length = Math.min(PATTERN.length, elements - from)
    using part = keep(flat.view([length], [1], from))
    using values = keep(pattern.view([length]))
    part.copyFrom(values)
  }
}
