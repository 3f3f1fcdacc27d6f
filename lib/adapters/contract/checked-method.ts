/** Checks the results of a method's functions, so that an error in a custom method names the function at fault. */
import { isListOfWholes, isObject } from '../../common/arguments.js'
import { MoraError, quoted, RunError } from '../../common/errors.js'
import { placeOf, reasonOf } from '../../common/foreign-errors.js'
import { elementsOf } from '../../native/addon.js'
import { NativeError } from '../../native/binary.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterMethod, PeftTable } from './adapter.js'
import { DeltaLayer } from './adapter-layer.js'
import { isEntry, isTable } from './peft-entries.js'

/** The values that a function may return: a plain test rather than a schema, since layers are called in every pass. */
interface Kind {
  /** Follows "expected". */
  readonly expects: string
  fits(value: unknown): boolean
}

type Kinds<Whole> = { readonly [Key in keyof Whole]?: Kind }

const isAmount = (value: unknown): value is number => Number.isFinite(value) && (value as number) >= 0
const hasAll = (value: unknown, names: readonly string[]): boolean => names.every((name) => name in Object(value))

const anything: Kind = { expects: 'anything', fits: () => true }
const anAmount: Kind = { expects: 'a finite number of at least 0', fits: isAmount }
const amounts: Kind = {
  expects: 'finite numbers of at least 0 by name',
  fits: (value) => isObject(value) && Object.values(value).every((amount) => amount === undefined || isAmount(amount)),
}
const aShape: Kind = {
  expects: 'a list of whole numbers, or null',
  fits: (value) => value === null || (isListOfWholes(value) && Array.from(value).every(isAmount)),
}
const aLimit: Kind = {
  expects: 'an object with a number "most" and a text "of"',
  fits: (value) => isObject(value) && isAmount(value.most) && typeof value.of === 'string',
}
const aPlan: Kind = { expects: 'an object with a function "after"', fits: (value) => hasAll(value, ['after']) }
const UPDATE_PARTS = ['parameters', 'addTo', 'backward']
const anUpdate: Kind = {
  expects: `an object with ${UPDATE_PARTS.join(', ')}, or null`,
  fits: (value) => value === null || hasAll(value, UPDATE_PARTS),
}
const aTensor: Kind = { expects: 'a tensor', fits: (value) => value instanceof Tensor }
const LAYER_CALLS: Readonly<Record<string, Kind>> = {
  forward: aTensor,
  weightUpdate: anUpdate,
  asWeightUpdate: anUpdate,
  mergeInto: anything,
  dispose: anything,
}
const LAYER_PARTS = ['parameters', ...Object.keys(LAYER_CALLS)]
const aLayer: Kind = {
  expects: `an object with ${LAYER_PARTS.join(', ')}`,
  fits: (value) => hasAll(value, LAYER_PARTS),
}
const optional = ({ expects, fits }: Kind): Kind => ({ expects, fits: (value) => value === undefined || fits(value) })
const aFlag: Kind = { expects: 'true or false', fits: (value) => typeof value === 'boolean' }
const anObject: Kind = { expects: 'an object', fits: isObject }
const jsonValue: Kind = {
  expects: 'a value that JSON can hold, or undefined',
  fits(value) {
    try {
      return value === undefined || JSON.stringify(value) !== undefined
    } catch {
      return false
    }
  },
}

/**
 * Wraps a method so that its functions throw a RunError `faulty-method` if they fail or return a wrong value. `requireValues`
 * checks the values of tensors.
 */
export function checkedMethod(method: AdapterMethod): AdapterMethod {
  const { name, tensors, files, restart } = method
  const aConfig: Kind = {
    expects: `an object with method "${name}"`,
    fits: (value) => isObject(value) && value.method === name,
  }
  const ofTensors: Kind = {
    expects: `an object with values of ${Object.keys(tensors).join(', ')}`,
    fits: (value) => isObject(value) && hasAll(tensors, Object.keys(value)),
  }
  const checked = <Whole extends object>(whole: Whole, at: string, kinds: Kinds<Whole>): Whole => {
    // `frozen` may be a constant.
    const isCall = (part: unknown) => part !== undefined && typeof part !== 'boolean'
    const parts = Object.entries<Kind | undefined>(kinds).filter(([part]) => isCall(whole[part as keyof Whole]))
    // Parts may be replaced, so each call looks them up.
    const callOf = (part: string) => (args: readonly unknown[]) => Reflect.apply(whole[part as never], whole, args)
    const calls = parts.map(([part, wanted]) => [part, checkedCall(name, `${at}${part}`, callOf(part), wanted!)])
    return Object.assign(Object.create(whole), Object.fromEntries(calls))
  }
  const each = <Part extends object>(parts: Readonly<Record<string, Part>>, at: string, kinds: Kinds<Part>) =>
    Object.fromEntries(Object.entries(parts).map(([key, part]) => [key, checked(part, `${at}${key}.`, kinds)]))
  const whole = checked(method, '', {
    config: aConfig,
    learningRate: anAmount,
    describeLayer: amounts,
    rankLimit: optional(aLimit),
    layerMemory: amounts,
    requireFit: anything,
    initial: ofTensors,
    layer: aLayer,
    isOwnFile: aFlag,
  })
  const checkedTable = (table: PeftTable, at: string): PeftTable =>
    Object.fromEntries(
      Object.entries(table).map(([key, row]) => {
        if (isEntry(row)) return [key, checked(row, `${at}${key}.`, { read: anObject, write: jsonValue })]
        return [key, isTable(row) ? checkedTable(row, `${at}${key}.`) : row]
      }),
    )
  const layer: AdapterMethod['layer'] = (config, options, own) => {
    const made = whole.layer(config, options, own)
    const { name: beside, inFeatures, outFeatures } = options.layer
    if (made instanceof DeltaLayer) {
      const { form } = made
      const aDelta: Kind = {
        expects: `a float32 tensor [${outFeatures}, ${inFeatures}]`,
        fits: (value) =>
          value instanceof Tensor && value.dtype === 'float32' && value.shape.join() === `${outFeatures},${inFeatures}`,
      }
      const delta = checkedCall(
        name,
        `layer.delta beside ${beside}`,
        (args) => Reflect.apply(form.delta, form, args),
        aDelta,
      )
      Object.assign(made, { form: Object.assign(Object.create(form), { delta }) })
    }
    const calls = Object.entries(LAYER_CALLS).map(([part, wanted]) => {
      const call: (...args: unknown[]) => unknown = made[part as never]
      const place = `layer.${part} beside ${beside}`
      return [part, checkedCall(name, place, (args) => Reflect.apply(call, made, args), wanted)]
    })
    return Object.assign(made, Object.fromEntries(calls))
  }
  return Object.assign(Object.create(whole), {
    layer,
    peft: checkedTable(method.peft, 'peft.'),
    tensors: each(tensors, 'tensors.', {
      shape: aShape,
      frozen: aFlag,
      learningRateRatio: anAmount,
      initial: anything,
    }),
    ...(files && { files: each(files, 'files.', { shape: aShape, split: ofTensors, join: anything }) }),
    ...(restart && { restart: checked(restart, 'restart.', { first: aConfig, plan: aPlan }) }),
  })
}

/** Wraps a function of a method, of a part of it, or of its layer. */
function checkedCall(method: string, name: string, call: (args: readonly unknown[]) => unknown, wanted: Kind) {
  return (...args: readonly unknown[]): unknown => {
    const accepted = (value: unknown) => {
      if (!wanted.fits(value)) throw unfit(method, name + besideLayer(args), value, wanted)
      return value
    }
    const failed = (error: unknown): never => {
      const place = name + besideLayer(args)
      const ofTensor = name.endsWith('initial') && error instanceof NativeError && error.code === 'invalid-argument'
      if (error instanceof MoraError && !ofTensor) throw error
      const reason = ofTensor ? error.message.replace(/\.$/, '') : reasonOf(error, placeOf(error))
      const what = ofTensor ? `${place}${ofShape(args)}` : place
      throw new RunError('faulty-method', `The method ${method} failed in ${what}: ${reason}.`, { cause: error })
    }
    try {
      const value = call(args)
      return value instanceof Promise ? value.catch(failed).then(accepted) : accepted(value)
    } catch (error) {
      return failed(error)
    }
  }
}

/** @throws RunError `faulty-method` unless a method's values match the declaration of the tensor */
export function requireValues<Values>(
  values: Values,
  method: string,
  place: string,
  { shape, dtype = 'float32' }: { shape: readonly number[]; dtype?: 'float32' | 'int32' | undefined },
): Values {
  const length = elementsOf(shape)
  const [Class, name] = dtype === 'int32' ? [Int32Array, 'an Int32Array'] : [Float32Array, 'a Float32Array']
  const isFit =
    values instanceof Tensor
      ? values.dtype === dtype && values.shape.join() === shape.join()
      : values instanceof Class && values.length === length
  if (isFit) return values
  throw unfit(method, place, values, { expects: `${name} of length ${length} (${shape.join(' × ')})` })
}

function unfit(method: string, place: string, value: unknown, { expects }: Pick<Kind, 'expects'>): RunError {
  const length = ArrayBuffer.isView(value)
    ? ` of length ${(value as Float32Array).length}`
    : value instanceof Tensor
      ? ` (a tensor of ${value.dtype}, ${value.shape.join(' × ')})`
      : ''
  const given = `${quoted(value)}${length}`
  return new RunError('faulty-method', `The method ${method} gave ${given} for ${place}: expected ${expects}.`)
}

/** Returns the layer of a call, as part of a sentence. */
function besideLayer(args: readonly unknown[]): string {
  const facts = args.map((one) => Object(Object(one).layer ?? one)).find((one) => 'inFeatures' in one)
  return facts ? ` beside ${facts.name}` : ''
}

/** Returns the shape of the tensor whose initial values are computed, as part of a sentence. */
function ofShape(args: readonly unknown[]): string {
  const shape: unknown = Object(args[0]).shape
  return isListOfWholes(shape) ? ` for a tensor of ${Array.from(shape).join(' × ')}` : ''
}
