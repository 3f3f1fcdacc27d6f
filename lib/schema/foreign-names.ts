/** Names of options in PEFT, TRL, transformers, Unsloth and llama.cpp, and their equivalents here. */

import { camelCase } from '../common/option-names.js'

/** The equivalent of each name: an option's name, or flags in words. Names are in lower case, without dashes and underscores. */
export const FOREIGN: Readonly<Record<string, string>> = {
  lr: 'learningRate',
  lrschedulertype: 'scheduler',
  lrscheduler: 'scheduler',
  adambeta1: 'beta1',
  adambeta2: 'beta2',
  adamepsilon: 'epsilon',
  maxgradientnorm: 'maxGradNorm',
  clipgradnorm: 'maxGradNorm',
  r: 'rank',
  lorar: 'rank',
  lorarank: 'rank',
  loraalpha: 'alpha',
  loradropout: 'dropout',
  loratargetmodules: 'targetModules',
  loratargets: 'targetModules',
  moratype: 'operator',
  pefttype: 'method',
  usemora: '--method mora',
  usedora: '--method dora',
  userslora: '--method rslora',
  numtrainepochs: 'epochs',
  numepochs: 'epochs',
  iters: 'maxSteps',
  trainbatchsize: 'batchSize',
  perdevicetrainbatchsize: 'microBatchSize',
  perdeviceevalbatchsize: 'microBatchSize',
  gradientaccumulationsteps:
    '--batch-size for the rows of an update, and --micro-batch-size for those of a forward pass',
  maxseqlength: 'maxLength',
  maxseqlen: 'maxLength',
  seqlength: 'maxLength',
  cutofflen: 'maxLength',
  modelmaxlength: 'maxLength',
  truncationmode: 'longRows',
  excesslengthstrategy: 'longRows',
  modelname: 'model',
  modelnameorpath: 'model',
  basemodel: 'model',
  pretrainedmodel: 'model',
  tokenizername: 'model',
  adapternameorpath: 'adapter',
  lora: 'adapter',
  outputdir: 'output',
  outdir: 'output',
  dataset: 'data',
  datasetname: 'data',
  datasetpath: 'data',
  trainfile: 'data',
  traindata: 'data',
  evaldataset: 'evalData',
  validationfile: 'evalData',
  evalsteps: 'evalEvery',
  evalstrategy: 'evalEvery',
  savesteps: 'saveEvery',
  savestrategy: 'saveEvery',
  savetotallimit: 'keepCheckpoints',
  loadbestmodelatend: 'keepBest',
  earlystoppingpatience: 'patience',
  resumefromcheckpoint: 'resume',
  overwriteoutputdir: 'overwrite',
  trainoninputs: '--train-on all',
  completiononlyloss: '--train-on completion',
  assistantonlyloss: '--train-on completion',
  chattemplate: 'template',
  usegradientcheckpointing: 'gradientCheckpointing',
  randomstate: 'seed',
  reportto: 'tensorboard',
  bf16: '--dtype bfloat16',
  fp16: '--dtype float16',
  torchdtype: 'dtype',
  tf32: 'allowTf32',
  maxtokens: 'maxNewTokens',
  npredict: 'maxNewTokens',
  systemprompt: 'system',
  reloraevery: 'mergeEvery',
}

/** Returns the equivalent of another program's option: an option's name, or words; undefined if there is none. */
export function equivalentOf(name: string, known: readonly string[]): string | undefined {
  const plain = name.toLowerCase().replace(/[-_]/g, '')
  const found = Object.hasOwn(FOREIGN, plain) ? FOREIGN[plain]! : undefined
  if (found === undefined || known.includes(found)) return found
  // Words are suggested only if this command has all options that they name.
  const flags = found.match(/--[a-z0-9-]+/g) ?? []
  return flags.length > 0 && flags.every((flag) => known.includes(camelCase(flag.slice(2)))) ? found : undefined
}
