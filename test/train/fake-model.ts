/**
 * A model small enough to be computed in JavaScript: a table of next-token logits W [V, V], trained by AdamW. It implements
 * what the trainer needs, and records the trainer's calls.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AdapterConfigBase } from '../../lib/adapters/contract/adapter.js'
import { randomStream } from '../../lib/common/random.js'
import type { Batch } from '../../lib/data/batch.js'
import { readTensors, writeTensors } from '../../lib/train/checkpoints/checkpoint-files.js'
import type { HeldForRun, TrainableModel } from '../../lib/train/trainable.js'
import { FakeParameter } from './fake-optimizer.js'

export const VOCABULARY = 11

export interface FakeOptions {
  /** Changes a gradient before it is added: for failing runs. */
  disturb?: (gradient: Float32Array, step: number) => void
  layers?: number
  /** Called by each forward pass; may throw as a device that lacks an operation does. */
  refuse?: () => void
  /** How its weights are stored. */
  format?: string
}

/** Each layer is a table; logits are the sum of their rows. */
export class FakeModel implements TrainableModel {
  readonly path = ''
  readonly reference = ''
  readonly config = {
    maxPositions: 64,
    vocabularySize: VOCABULARY,
    layers: 1,
    hiddenSize: VOCABULARY,
    intermediateSize: VOCABULARY,
    json: { model_type: 'fake' } as Record<string, unknown>,
  }
  readonly tokenizer = null
  readonly dtype = 'float32' as const
  threads = 1
  processor = 'A1'
  readonly device = {
    kind: 'cpu',
    facts: () => ({
      name: this.processor,
      detail: 'fake',
      totalMemory: 2 ** 34,
      threads: this.threads,
      int8Products: false,
    }),
    memory: () => ({ inUse: 1000, peak: 2000, cached: 0 }),
    resetPeak: () => {},
    trim: () => {},
  }
  readonly holdForTraining = (): HeldForRun => ({
    passes: this,
    change: (work) => work(),
    onDispose: () => {},
    end: () => {},
  })
  gradientCheckpointing = false
  compute: 'auto' | 'int8' = 'auto'
  readonly #adapters = new Map<string, AdapterConfigBase>()
  #isChecked = false
  readonly base = {
    weights: new Map([['model.embed_tokens.weight', [VOCABULARY, VOCABULARY]]]),
    ties: new Map<string, string>(),
    transposed: new Set<string>(),
    textPrefix: null,
    hiddenSize: VOCABULARY,
    labels: null,
    identity: () => (this.options.format === undefined ? null : { hash: '', format: this.options.format }),
  }
  readonly adapterSet = {
    configs: this.#adapters,
    activeNames: () => [...this.#adapters.keys()],
    recordTemplate: () => {},
    recordPooling: () => {},
  }
  parameters: FakeParameter[] = []
  /** The sum of what restarts merged, a table beside the layers'. */
  readonly merged = new Float32Array(VOCABULARY ** 2)
  dropoutKey: { seed: number; step: number } | null = null
  /** Every batch with a computed loss, except that of the check before the first step. */
  readonly seen: { batch: Batch; step: number | null }[] = []

  constructor(readonly options: FakeOptions = {}) {}

  adaptableLayers() {
    const names = Array.from({ length: this.options.layers ?? 2 }, (_, i) => `model.layers.${i}.mlp.up_proj`)
    return names.map((name) => ({ name, inFeatures: VOCABULARY, outFeatures: VOCABULARY }))
  }

  async addAdapter(name: string, config: AdapterConfigBase, { seed }: { seed: number }): Promise<void> {
    this.#adapters.set(name, config)
    for (const layer of this.adaptableLayers()) {
      const random = randomStream(seed, 'init', layer.name)
      const values = Float32Array.from({ length: VOCABULARY ** 2 }, () => 0.2 * random.uniform() - 0.1)
      this.parameters.push(new FakeParameter(`${layer.name}.mora`, [VOCABULARY, VOCABULARY], values))
    }
  }

  loadAdapter(): Promise<AdapterConfigBase> {
    throw new Error('not needed here')
  }

  async saveAdapter(name: string, folder: string): Promise<void> {
    const tensors = this.parameters.map((parameter) => ({ name: parameter.name, tensor: parameter }))
    await writeTensors(join(folder, 'adapter_model.safetensors'), tensors)
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(this.#adapters.get(name)))
  }

  async restartAdapter(
    name: string,
    { config, seed, merge = true }: { config: AdapterConfigBase; seed: number; merge?: boolean },
  ): Promise<void> {
    if (merge) for (const { values } of this.parameters) this.#merge(values)
    this.parameters = []
    await this.addAdapter(name, config, { seed })
  }

  async absorbAdapter(folder: string): Promise<void> {
    for await (const { values } of readTensors(join(folder, 'adapter_model.safetensors'))) this.#merge(values)
  }

  #merge(values: Float32Array): void {
    for (const [i, value] of values.entries()) this.merged[i]! += value
  }

  untrainedTokens = () => Promise.resolve([])

  trainAll(): void {
    const zeros = new Float32Array(VOCABULARY ** 2)
    this.parameters.push(new FakeParameter('model.embed_tokens.weight', [VOCABULARY, VOCABULARY], zeros))
  }

  trainableParameters() {
    return this.parameters.map((parameter) => ({ name: parameter.name, parameter }))
  }

  save(folder: string): Promise<void> {
    mkdirSync(folder, { recursive: true })
    return writeTensors(
      join(folder, 'model.safetensors'),
      this.parameters.map((parameter) => ({ name: parameter.name, tensor: parameter })),
    )
  }

  setDropout(key: { seed: number; step: number } | null): void {
    this.dropoutKey = key
  }

  async lossAsync(batch: Batch) {
    const key = this.dropoutKey
    if (this.#isChecked) this.seen.push({ batch, step: key?.step ?? null })
    this.#isChecked = true
    this.options.refuse?.()
    const gradients = this.parameters.map(({ values }) => new Float32Array(values.length))
    const probability = [...this.#adapters.values()][0]?.dropout ?? 0
    let sum = 0
    for (const [t, target] of batch.targets.entries()) {
      if (target < 0) continue
      const weight = key ? keptWeight(key, batch.rowKeys[t]!, probability) : 1
      sum += weight * this.#token(batch.ids[t]!, target, weight, gradients)
    }
    const loss = {
      item: () => Promise.resolve(sum),
      backward: async ({ onGradient }: { onGradient?: (parameter: object) => void } = {}) => {
        for (const [i, parameter] of [...this.parameters.entries()].reverse()) {
          this.options.disturb?.(gradients[i]!, key?.step ?? 0)
          parameter.addGradient(gradients[i]!)
          onGradient?.(parameter)
          await null
        }
      },
      dispose: () => {},
    }
    return { loss, targetTokens: batch.targetTokens }
  }

  /** It has no hidden states. */
  forwardAsync(): Promise<never> {
    return Promise.reject(new Error('A fake model has no hidden states.'))
  }

  /** Cross-entropy of one token; adds its gradient. */
  #token(id: number, target: number, weight: number, gradients: Float32Array[]): number {
    const at = (j: number) => id * VOCABULARY + j
    const logits = Array.from({ length: VOCABULARY }, (_, j) =>
      this.parameters.reduce((logit, { values }) => logit + values[at(j)]!, this.merged[at(j)]!),
    )
    const total = logits.reduce((acc, logit) => acc + Math.exp(logit), 0)
    for (let j = 0; j < VOCABULARY; j++) {
      const gradient = weight * (Math.exp(logits[j]!) / total - (j === target ? 1 : 0))
      for (const one of gradients) one[at(j)]! += gradient
    }
    return Math.log(total) - logits[target]!
  }
}

function keptWeight(key: { seed: number; step: number }, rowKey: bigint, probability: number): number {
  const kept = randomStream(key.seed, 'dropout', key.step, String(rowKey)).uniform() >= probability
  return kept ? 1 / (1 - probability) : 0
}
