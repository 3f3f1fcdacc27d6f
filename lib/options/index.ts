/** Options of every command and of the library's functions, from one schema each. */

export { OPERATORS, type Operator } from '../adapters/methods/mora-operators.js'
export { ADAPTER_METHODS, type AdapterMethodName } from '../adapters/registry.js'
export type { OptionSource } from '../schema/names.js'
export { type OptionFacts, type OptionsSchema, optionDefault, optionFacts } from '../schema/option-facts.js'
export { forLibrary, parseOptions, plainOptions } from '../schema/parse.js'
export { AnalyzeSchema } from './analyze.js'
export { checkAnalyzeOptions, checkEvalOptions, checkNewAdapterOptions, requireOptions } from './checks.js'
export { type CommonOptions, CommonOptionsSchema, encodingOptions, loadOptions } from './common.js'
export { readConfigFile, resolveWithConfig } from './config-file.js'
export { JSON_SPACINGS, type JsonSpacing } from './constraint.js'
export { DashboardSchema, ReportSchema } from './dashboard.js'
export {
  endsWithBest,
  fullLearningRate,
  maxLengthOf,
  newAdapterOptions,
  pastPositions,
  scheduleOptions,
} from './defaults.js'
export { DoctorSchema } from './doctor.js'
export {
  type EvalInput,
  type EvalOptions,
  EvalSchema,
  TASKS,
  type Task,
} from './eval.js'
export { type ExportOptions, ExportSchema } from './export.js'
export { type FitInput, FitSchema } from './fit.js'
export {
  ChatSchema,
  type GenerateInput,
  GenerateSchema,
  type GenerateSettings,
} from './generate.js'
export { type ImatrixInput, ImatrixSchema } from './imatrix.js'
export { type InspectOptions, InspectSchema } from './inspect.js'
export { type MergeOptions, MergeSchema } from './merge.js'
export {
  type DescribedField,
  describedFields,
  describedFieldsOf,
  METHODS,
  type Method,
  type OptionOfMethod,
} from './new-adapter.js'
export { type PushInput, PushSchema } from './push.js'
export { ADAPTER_NAME, ADAPTER_NAME_WORDS, type ServeInput, ServeSchema } from './serve.js'
export {
  type MethodInput,
  type MethodOptions,
  SCHEDULERS,
  scheduleNames,
  type TrainInput,
  TrainSchema,
  type TrainSettings,
} from './train.js'
