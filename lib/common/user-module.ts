/** Modules that a user's options name, such as rewards and scorers. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { InputError, UsageError } from './errors.js'

/**
 * Runs a JavaScript or TypeScript module in this process and returns its exports; TypeScript on every version of Node.js.
 *
 * @param what names the module in errors
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-module` if the module cannot be run
 */
export async function importModule(path: string, what: string): Promise<Record<string, unknown>> {
  if (!existsSync(path)) throw new UsageError('missing-file', `There is no file ${path} of ${what}.`)
  try {
    const url = pathToFileURL(resolve(path)).href
    if (!/\.[cm]?tsx?$/.test(path)) return await import(url)
    const { createJiti } = await import('jiti')
    return await createJiti(import.meta.url).import(url)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new InputError('malformed-module', `The ${what} ${path} cannot be run: ${why}`, { cause })
  }
}
