import { parseArgs } from 'node:util'

/**
 * Runs `read`; a wrong option ends the process with its message and exit code 2.
 * @template T
 * @param {() => T} read
 */
export function orUsageError(read) {
  try {
    return read()
  } catch (error) {
    console.error(error.message)
    process.exit(2)
  }
}

/**
 * The values that parseArgs returns for options that may be given once.
 * @template {OptionsConfig} T
 * @typedef {{ [K in keyof T]: Value<T[K]['type']> | (T[K] extends { default: unknown } ? never : undefined) }} ValuesOf
 */
/**
 * @template {'string' | 'boolean'} T
 * @typedef {T extends 'boolean' ? boolean : string} Value
 */

/** @typedef {NonNullable<import('node:util').ParseArgsConfig['options']>} OptionsConfig */

/**
 * Parses the command line; with `--help`, prints the usage and exits.
 * @template {OptionsConfig} T
 * @param {string} usage
 * @param {T} options
 * @returns {{ values: ValuesOf<T>, positionals: string[] }}
 */
export function parseOptions(usage, options, { allowPositionals = true } = {}) {
  const help = /** @type {const} */ ({ type: 'boolean', default: false })
  const parsed = /** @type {any} */ (parseArgs({ allowPositionals, options: { ...options, help } }))
  const { help: asked, ...values } = parsed.values
  if (!asked) return { values, positionals: parsed.positionals }
  console.log(usage)
  process.exit(0)
}
