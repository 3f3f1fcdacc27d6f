/**
 * Fine-tune and pretrain language models with MoRA, LoRA and full training.
 *
 * The short way: `loadModel`, `model.addAdapter`, `train`. For training loops and research of your own: `loadDataset`,
 * `DataLoader`, `model.loss`, `backward`, `AdamW`. One layer alone: `moraLayer`.
 *
 * @module node-mora
 */

export type { AdapterConfigBase, ConfigOf, TargetModules } from './adapters/contract/adapter.js'
export { type CheckedGradient, type GradientCheckOptions, gradientCheck } from './adapters/gradient-check.js'
export * from './adapters/own-methods.js'
export { type LayerValues, type MoraLayerOptions, MoraSingleLayer, moraLayer } from './adapters/single-layer.js'
export {
  type AnalyzeOptions,
  analyzeAdapter,
  analyzeModels,
  type LayerSpectrum,
  type Spectrum,
  spectraByKind,
  spectrumOf,
} from './analysis/index.js'
export type { Batch } from './batches/batch.js'
export {
  Dataset,
  type DatasetOptions,
  type DatasetPart,
  loadDataset,
  type TokeniseRowOptions,
  tokeniseRow,
} from './batches/dataset.js'
export type { ChatCounts } from './batches/examples/encode.js'
export type { Document, Example } from './batches/examples/example.js'
export type { LongRowCounts } from './batches/examples/long-rows.js'
export type { SourceReport } from './batches/examples/report.js'
export type { DataSummary, LengthCounts } from './batches/examples/summary.js'
export type { TokeniseProgress } from './batches/examples/tokenise.js'
export { DataLoader, type LoaderOptions, type LoaderRow, type LoaderState } from './batches/loader.js'
export { type PackedRow, type PackOptions, packBatch } from './batches/packing.js'
export type { StepRow } from './batches/step-rows.js'
export { InputError, MoraError, RunError, UsageError } from './common/errors.js'
export { type RandomState, type RandomStream, randomStream } from './common/random.js'
export { type DoctorReport, doctor } from './doctor.js'
export type { EditOptions, Engine, EngineOptions, EngineRequest, EngineUsage, ScoredPrompt } from './engine/index.js'
export {
  type EmbeddingOptions,
  type EvalProgress,
  type EvalResult,
  type EvaluateOptions,
  embeddingsOf,
  evaluate,
  type ImportanceOptions,
  importanceMatrix,
  type RowEntry,
  type Scorer,
  type ScoresOptions,
  scoresOf,
} from './eval/index.js'
export { answerReward, jsonReward, lengthReward, regexReward, tagsReward } from './eval/rewards.js'
export { type Fit, type FitOptions, fit } from './fit/fit.js'
export {
  type BegunPrompt,
  Chat,
  type ChatOptions,
  type Constraint,
  type ConstraintOptions,
  type ConstraintTokens,
  type FinishReason,
  type FirstToken,
  type GeneratedPiece,
  type GenerateOptions,
  type GenerateResult,
  generate,
  generateStream,
  type NewToken,
  openConstraint,
  type Sampling,
  TextEngine,
  type TokenChoice,
  type TokenText,
} from './generate/index.js'
export type { ProgramGrader } from './graders/grade.js'
export type { AnswerSample, GradedAnswer } from './graders/template.js'
export type { DownloadProgress, HubOptions, HubOrigin } from './hub/index.js'
export type {
  AdapterChoice,
  AddAdapterOptions,
  LoadAdapterOptions,
  MergeAdapterOptions,
  RestartOptions,
  SaveAdapterOptions,
} from './models/adaptation/adapter-options.js'
export {
  type ExportAdapterOptions,
  type ExportAdapterResult,
  exportAdapter,
} from './models/adaptation/export-adapter.js'
export { type MergeModelOptions, type MergeModelResult, mergeModel } from './models/adaptation/merge-on-disk.js'
export type { SaveOptions } from './models/adaptation/save-model.js'
export type { GgufDType, GgufMixture, ModelFormat } from './models/formats.js'
export type { QuantisedBase } from './models/load/storage-plan.js'
export { type InitModelOptions, initModel, type LoadOptions, loadModel } from './models/load-model.js'
export { type LoadedModel, Model } from './models/model.js'
export type { ModelView } from './models/model-view.js'
export type { ModelConfig, ModelSizes } from './models/network/model-config.js'
export type { ForwardCall, ModelOutput, SummedLoss } from './models/network/model-output.js'
export type { ModelShards } from './models/network/model-shards.js'
export type { SequenceCache } from './models/network/sequence-cache.js'
export type {
  BlockDType,
  DeviceFacts,
  DType,
  FloatDType,
  MemoryFigures,
  NativeDevice,
  PlainDType,
  ProfileEntry,
} from './native/addon.js'
export { type ClassifyOptions, classify } from './objectives/classify.js'
export { type CpoOptions, cpo } from './objectives/cpo.js'
export { type DistillOptions, distill } from './objectives/distill.js'
export { type DpoOptions, dpo } from './objectives/dpo.js'
export { type EmbedOptions, embed } from './objectives/embed.js'
export type { Environment } from './objectives/episodes.js'
export { type GrpoOptions, grpo } from './objectives/grpo.js'
export type { ObjectiveName } from './objectives/index.js'
export { type KtoOptions, kto } from './objectives/kto.js'
export {
  type BatchLoss,
  type ForwardModel,
  type KeptValues,
  type LossOptions,
  type LossTensor,
  type Objective,
  type ObjectiveRows,
  type States,
  type StepSums,
  type TokenLogProbsOptions,
  tokenLogProbs,
} from './objectives/objective.js'
export { type OrpoOptions, orpo } from './objectives/orpo.js'
export { type RewardModelOptions, reward } from './objectives/reward.js'
export type { JudgedAnswer, Reward, Rewards } from './objectives/rewards.js'
export type { Rollout, SampleContext, SampledStep, SampleReuse } from './objectives/rollouts.js'
export { type SimpoOptions, simpo } from './objectives/simpo.js'
export type { Tool, ToolFunction, Tools } from './objectives/tools.js'
export type { WeightedSum } from './objectives/weighted-sum.js'
export { AdamW, type AdamWOptions, type AdamWStepOptions } from './optim/adamw.js'
export { clipGradNorm } from './optim/clip-grad-norm.js'
export { type ScheduleOptions, type Scheduler, schedule } from './optim/schedule.js'
export type { MethodOptions, Task } from './options/index.js'
export { type PushOptions, type PushProgress, type PushResult, pushToHub } from './push/push.js'
export { connectRanks } from './ranks/connect-ranks.js'
export type { JobRanks } from './ranks/job-ranks.js'
export type { DataPurpose } from './rows/files/data-files.js'
export { readRows } from './rows/read-rows.js'
export type { RowChoices } from './rows/row-choices.js'
export type {
  AnyRow,
  AnySource,
  DataInput,
  DataSource,
  PathSource,
  RecordedSource,
  RowOf,
  RowSource,
  Rows,
} from './rows/sources/source.js'
export { type ModelServer, type ServedAdapterOptions, type ServeOptions, serve } from './serve/index.js'
export { type DeviceOptions, openDevice } from './tensor/device.js'
export * from './tensor/operations/arithmetic.js'
export { gather, gatherRows, slice } from './tensor/operations/indexing.js'
export { crossEntropy, type LogitsForm, linearCrossEntropy } from './tensor/operations/loss.js'
export { linear, matmul } from './tensor/operations/products.js'
export { logSoftmax, logSumExp, mean, softmax, sum } from './tensor/operations/reductions.js'
export { concat, reshape, stack } from './tensor/operations/reshaping.js'
export { Parameter } from './tensor/parameter.js'
export type { Ranks } from './tensor/ranks.js'
export { type SynchronousBody, scope } from './tensor/scope.js'
export type { ShardRanks } from './tensor/shards.js'
export { noGrad } from './tensor/tape.js'
export { type Float32Tensor, Tensor, type TensorOptions, type TypedValues } from './tensor/tensor.js'
export type { TurnCounts } from './text/masks/turn-texts.js'
export type { ChatTemplate, Message, RenderOptions, TemplateContext } from './text/template.js'
export type { ContentPart, ThinkingPart } from './text/templates/messages.js'
export {
  type DecodeOptions,
  loadTokenizer,
  type PlacedTokens,
  type TokenBytes,
  type Tokenizer,
} from './text/tokenizer.js'
export type { ToolCall } from './text/tool-calls/calls.js'
export { answerForm } from './text/tool-calls/find-form.js'
export type { AnswerForm } from './text/tool-calls/forms.js'
export { answerMessage } from './text/tool-calls/message.js'
export {
  type AnswerDelta,
  type AnswerOptions,
  AnswerReader,
  type ParsedAnswer,
  parseAnswer,
} from './text/tool-calls/reader.js'
export * from './train/index.js'
