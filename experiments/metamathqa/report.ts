/** A report as PEFT's method comparison writes it: the same fields under the same names. */
import { arch, platform, release, version } from 'node:os'
import type { Model } from 'node-mora'
import type { TrainConfig } from './protocol.ts'

export interface StepMetrics {
  step: number
  'valid accuracy': number
  'train loss': number
  'train samples': number
  /** Seconds of the steps since the last evaluation. */
  'train time': number
  'eval time': number
  'tokens / sec': number
  'mem allocated avg': number
  'mem reserved avg': number
  'elapsed time': number
}

export interface FinalMetrics {
  step: number
  'test accuracy': number
  'train loss': number
  'train samples': number
  'train total tokens': number
  forgetting: number | null
}

/** Memory is in bytes, times are in seconds. */
export interface TrainInfo {
  accelerator_memory_reserved_avg: number
  accelerator_memory_max: number
  accelerator_memory_reserved_99th: number
  train_time: number
  file_size: number
  num_trainable_params: number
  num_total_params: number
  status: 'success'
  metrics: (StepMetrics | FinalMetrics)[]
}

interface Trained {
  readonly seconds: readonly number[]
  readonly reserved: readonly number[]
  readonly metrics: readonly StepMetrics[]
}

const product = (shape: readonly number[]) => shape.reduce((total, size) => total * size, 1)
const total = (values: readonly number[]) => values.reduce((all, value) => all + value, 0)

export function trainInfoOf(
  { seconds, reserved, metrics }: Trained,
  model: Model,
  final: FinalMetrics,
  fileSize: number,
): TrainInfo {
  const trained = total(model.trainableParameters().map(({ parameter }) => product(parameter.shape)))
  const frozen = total([...model.base.weights.values()].map(product))
  return {
    accelerator_memory_reserved_avg: Math.trunc(total(reserved) / reserved.length),
    accelerator_memory_max: Math.max(model.device.memory().peak, ...reserved),
    accelerator_memory_reserved_99th: Math.trunc(percentile(reserved, 99)),
    train_time: total(seconds),
    file_size: fileSize,
    num_trainable_params: trained,
    num_total_params: frozen + trained,
    status: 'success',
    metrics: [...metrics, final],
  }
}

/** Interpolates linearly between the two nearest values, as numpy.percentile does. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const place = ((sorted.length - 1) * percent) / 100
  const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!]
  return below + (above - below) * (place - Math.floor(place))
}

export interface Run {
  createdAt: Date
  totalSeconds: number
  name: string
  config: TrainConfig
  /** The content of adapter_config.json. */
  adapter: object
  trainInfo: TrainInfo
  /** The model and the data sets as given, or ids with their commits. */
  sources: { model: string; metamath: string; gsm8k: string }
  engine: string
  device: string
}

export function reportOf(run: Run): object {
  const info = (reference: string) => ({ sha: /@([0-9a-f]{40})/.exec(reference)?.[1] ?? null, created_at: null })
  return {
    run_info: {
      created_at: run.createdAt.toISOString().replace(/\.\d+Z$/, '+00:00'),
      total_time: run.totalSeconds,
      experiment_name: run.name,
      peft_branch: null,
      // PEFT's other settings, with this engine's values.
      train_config: {
        ...run.config,
        compile: false,
        use_gc: false,
        use_amp: false,
        attn_implementation: null,
        init_kv_cache_prefix: null,
      },
      peft_config: run.adapter,
      error_msg: '',
    },
    train_info: run.trainInfo,
    meta_info: {
      model_info: info(run.sources.model),
      dataset_info: { metamath: info(run.sources.metamath), gsm8k: info(run.sources.gsm8k) },
      package_info: { 'node-mora-version': run.engine, 'node-version': process.version },
      system_info: {
        system: platform(),
        release: release(),
        version: version(),
        machine: arch(),
        processor: arch(),
        accelerator: run.device,
      },
      pytorch_info: null,
    },
  }
}
