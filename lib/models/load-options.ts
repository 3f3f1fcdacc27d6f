/** Options of loading a model, for `loadModel` and for every command that loads one. */
import { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { MAX_THREADS } from '../native/addon.js'
import { choice, flag, optionalChoice, optionalFlag, optionalInteger, pattern } from '../schema/option.js'
import { parseOptions } from '../schema/parse.js'
import { QUANTISE_FORMATS } from './formats.js'

/** Heading of help for options that every command has. */
export const everyCommand = 'Every command:'
const group = everyCommand

/** The option `quantised`, which keeps quantised weights. `when` lists further cases in which it is the default. */
export const quantisedOption = (...when: readonly string[]) =>
  optionalFlag("keep a quantised model's weights as stored in its file; --no-quantised converts them to --dtype", {
    defaultText: [...when, 'if nothing else fits the memory'].join(', and '),
    resume: 'rounding',
  })

export const loadFields = {
  device: pattern('where to compute', 'auto|cpu|cuda[:n]', /^(auto|cpu|cuda(:\d+)?)$/, 'auto', {
    group,
    expects: 'auto, cpu, cuda or cuda:n',
    resume: 'free',
  }),
  threads: optionalInteger('CPU threads; 0 is every core', { min: 0, max: MAX_THREADS }),
  dtype: choice(
    'dtype of activations and frozen weights; auto is bfloat16 if the device multiplies it fast, else float32',
    ['auto', 'float32', 'bfloat16', 'float16'],
    'auto',
    { group, resume: 'free' },
  ),
  rotaryDtype: choice(
    'precision of the rotary frequencies; bfloat16 matches a PyTorch model that was cast as a whole',
    ['float32', 'bfloat16'],
    'float32',
    { group },
  ),
  allowTf32: flag('let float32 products of a GPU round their inputs to TF32', false, { group }),
  offline: flag('look up hub ids in the cache only and download nothing; HF_HUB_OFFLINE=1 does the same', false, {
    group,
    scope: 'call',
  }),
  quantised: quantisedOption(),
  quantise: optionalChoice(
    "quantise a float model's linear layers while loading it; embeddings, head and norms stay floats",
    QUANTISE_FORMATS,
    { defaultText: 'floats stay floats' },
  ),
}

const LoadSchema = z.strictObject(loadFields)

/** Checks options of `loadModel`. @throws UsageError for a wrong value, and for options that exclude each other */
export function checkLoadOptions(options: object): void {
  checkLoadedForm(parseOptions(LoadSchema, options))
}

/** Throws a `UsageError` for options of loading that exclude each other. */
export function checkLoadedForm({ quantise, quantised }: { quantise?: string; quantised?: boolean }): void {
  if (quantise === undefined || quantised !== false) return
  throw new UsageError(
    'unfit-options',
    `${optionName('quantise')} ${quantise} does not go with ${optionName('quantised')} turned off: quantised weights stay quantised.`,
  )
}
