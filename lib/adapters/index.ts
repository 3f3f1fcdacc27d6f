/**
 * The building blocks of custom adapter methods: `AdapterMethod` describes a method, `train({ method })` accepts it, and
 * `registerMethod` also makes it known to `model.addAdapter` and `loadAdapter`. examples/adapters/lora-xs.ts is a complete
 * example.
 *
 * @module node-mora/adapters
 */
export { InputError, UsageError } from '../common/errors.js'
export { type RandomStream, randomStream } from '../common/random.js'
export type { FloatDType } from '../native/addon.js'
export type { LayerAdapter, LayerUpdate, LowRankFactors } from '../nn/layer-adapter.js'
export type { DropoutState, LinearInput } from '../nn/linear-input.js'
export {
  flag,
  type NumberRange,
  numbersByPattern,
  optionalChoice,
  optionalFlag,
  optionalInteger,
  optionalReal,
} from '../schema/option.js'
export type { HubMeaning, OptionFacts, ResumeRule } from '../schema/option-facts.js'
export type { Destination } from '../tensor/destination.js'
export * from '../tensor/operations/arithmetic.js'
export { onDiagonal, scaleRows, scatter, transpose, weighted } from '../tensor/operations/factors.js'
export { factor, type WeightUpdate } from '../tensor/operations/linear.js'
export { matmul, type ProductOptions, product } from '../tensor/operations/products.js'
export { logSumExp, mean, norms, sum } from '../tensor/operations/reductions.js'
export { concat, reshape, stack } from '../tensor/operations/reshaping.js'
export { Parameter } from '../tensor/parameter.js'
export { keep, type SynchronousBody, scope } from '../tensor/scope.js'
export { type Float32Tensor, type GradientTarget, Tensor, type TensorOptions } from '../tensor/tensor.js'
export type { CodeFormat, StorageFormat, Weight } from '../tensor/weight.js'
export type {
  AdapterConfigBase,
  AdapterMethod,
  ConfigOf,
  LayerFacts,
  LayerMemory,
  LayerOptions,
  LayerTensors,
  OptionFields,
  PeftEntry,
  PeftPlace,
  PeftTable,
  RankLimit,
  RestartRule,
  RestartRunOptions,
  SplitTensor,
  StoredTensor,
  TargetModules,
  TensorDeclaration,
  TensorStart,
  TensorValues,
} from './contract/adapter.js'
export { checkedConfig } from './contract/adapter-config.js'
export { AdapterLayer, type DeltaForm, DeltaLayer } from './contract/adapter-layer.js'
export { patternValue, rankOf } from './contract/patterns.js'
export {
  dropoutEntry,
  type EntryOptions,
  flagEntry,
  numberEntry,
  type OptionEntry,
  onlyEntry,
  patternsEntry,
  positiveEntry,
  wholeEntry,
} from './contract/peft-entries.js'
export { type CheckedGradient, type GradientCheckOptions, gradientCheck } from './gradient-check.js'
export { factorShapes, kaimingUniform } from './methods/low-rank.js'
export { registerMethod } from './registry.js'
