import { orUsageError, parseOptions } from './command-line.mjs'
import { modelPath } from './model-path.mjs'
import { pytorchVersion } from './pytorch.mjs'

const shared = /** @type {const} */ ({
  rounds: { type: 'string' },
  threads: { type: 'string', default: '0' },
  python: { type: 'string', default: '/usr/bin/python3' },
  blas: { type: 'string' },
  json: { type: 'string' },
  quick: { type: 'boolean', default: false },
})

/** @import { OptionsConfig, ValuesOf } from './command-line.mjs' */
/** @typedef {{ model: any, rounds: number, threads: number, pytorch: string | null }} Read */
/** @typedef {Omit<ValuesOf<typeof shared>, keyof Read> & Read} Shared */

const sharedHelp = `  --rounds N       measured runs of each side, taken in turn after one that is not counted; default ROUNDS
  --threads N      default all cores
  --python FILE    an interpreter that has torch; default /usr/bin/python3
  --blas FOLDER    where PyTorch finds its libblas.so.3; default the system's
  --json FILE      also write everything as JSON
  --quick          two rounds, PyTorch in its best setting only`

/** @typedef {'bfloat16' | 'float32'} ComputedDType */

/** @type {ComputedDType[]} */
const dtypes = ['bfloat16', 'float32']

/**
 * Reads a benchmark's options: the shared ones and its `own`, as parseArgs returns them, `pytorch` (a version or null) and the
 * model, unless `needsModel` is false. `rounds` is the default number of rounds. A wrong option ends the process.
 * @template {OptionsConfig} [T={}]
 * @param {{ usage: string, own?: T, needsModel?: boolean, rounds?: number }} what
 * @returns {ValuesOf<T> & Shared}
 */
export function readOptions({ usage, own = /** @type {any} */ ({}), needsModel = true, rounds = 7 }) {
  return orUsageError(() => {
    const { values, positionals } = parseOptions(
      `${usage}\n${sharedHelp.replace('ROUNDS', String(rounds))}`,
      /** @type {OptionsConfig} */ ({ ...own, ...shared }),
      { allowPositionals: needsModel },
    )
    /** @type {any} */
    const read = {
      ...values,
      model: needsModel ? modelPath(positionals[0]) : undefined,
      rounds: whole('rounds', values.rounds ?? (values.quick ? '2' : String(rounds)), 1),
      threads: whole('threads', values.threads, 0),
      pytorch: pytorchVersion(String(values.python)),
    }
    return read
  })
}

/** Parses an option's text as an integer. */
export function whole(name, text, least) {
  const value = Number(text)
  if (Number.isInteger(value) && value >= least) return value
  throw new Error(`Expected an integer of ${least} or more for --${name} but received ${text}.`)
}

/** Parses an option's text as a positive number. */
export function positive(name, text) {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  throw new Error(`Expected a number above 0 for --${name} but received ${text}.`)
}

/** Parses an option's text as a list of known names. */
export function someOf(option, text, known) {
  const names = list(text)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown === undefined) return names
  throw new Error(`Expected some of ${known.join(', ')} for --${option} but received ${unknown}.`)
}

export const list = (text) => text.split(',').filter((part) => part !== '')

/** Parses a list of dtypes to compute in. */
export const dtypeList = (text) => list(text).map((name) => dtypeOf('dtypes', name))

export function dtypeOf(option, name) {
  const known = dtypes.find((dtype) => dtype === name)
  if (known) return known
  throw new Error(`Expected ${dtypes.join(' or ')} for --${option} but received ${name}.`)
}
