/**
 * Fine-tune and pretrain language models with MoRA, LoRA and full training.
 *
 * The short way: `loadModel`, `model.addAdapter`, `train`. The long way, for loops and research of your own: `loadDataset`,
 * `DataLoader`, `model.loss`, `backward`, `AdamW`. One layer alone: `moraLayer`.
 *
 * @packageDocumentation
 */
export type { AdapterConfigBase, TargetModules } from './adapters/adapter.js'
export { type LoraConfig, lora } from './adapters/lora.js'
export { type MoraConfig, mora, type Operator, operators } from './adapters/mora.js'
export { squareSide } from './adapters/square-side.js'
export type { Batch } from './data/batch.js'
export { Dataset, type DatasetOptions, loadDataset } from './data/dataset.js'
export { DataLoader, type LoaderOptions } from './data/loader.js'
export { packBatch } from './data/packing.js'
export type { Message } from './data/template.js'
export { loadTokenizer, type Tokenizer } from './data/tokenizer.js'
export { type DoctorReport, doctor } from './doctor.js'
export { InputError, MoraError, RunError, UsageError } from './errors.js'
export { evaluate } from './eval/index.js'
export { Chat, generate, generateStream } from './generate/index.js'
export { type DeviceOptions, initModel, loadModel, openDevice } from './models/load.js'
export { Model } from './models/model.js'
export { type LayerValues, type MoraLayerOptions, MoraSingleLayer, moraLayer } from './mora-layer.js'
export type { DeviceFacts, DType, MemoryFigures, NativeDevice } from './native.js'
export { AdamW, type AdamWOptions, type AdamWStepOptions } from './optim/adamw.js'
export { clipGradNorm } from './optim/clip-grad-norm.js'
export { schedule } from './optim/schedule.js'
export { crossEntropy, linearCrossEntropy } from './tensor/operations/loss.js'
export { Parameter } from './tensor/parameter.js'
export { scope } from './tensor/scope.js'
export { noGrad } from './tensor/tape.js'
export { Tensor, type TensorOptions } from './tensor/tensor.js'
export * from './train/index.js'
