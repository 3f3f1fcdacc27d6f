/** The option `tools`: functions that a model may call. */
import { InputError, UsageError } from '../common/errors.js'
import { readText } from '../io/open.js'
import { parsedTools } from './rows.js'

/**
 * Returns the list of schemas of the option `tools`: the list itself, or the list in a JSON file, whose numbers keep their
 * spelling.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-tools`
 */
export async function resolveTools(
  option: string | readonly unknown[] | undefined,
): Promise<readonly unknown[] | undefined> {
  if (typeof option !== 'string') return option
  let json: string
  try {
    json = await readText(option)
  } catch (cause) {
    throw new UsageError('missing-file', `The tools ${option} cannot be read; give the path of a JSON file.`, { cause })
  }
  const tools = parsedTools(json.replace(/^\ufeff/, ''))
  if (tools) return tools
  throw new InputError('malformed-tools', `${option}: expected a JSON list of the schemas of functions.`)
}
