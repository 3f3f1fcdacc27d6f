/** Functions that a model is told of. */
import { InputError, UsageError } from '../../common/errors.js'
import { readText } from '../../io/open.js'
import { parsedTools } from './rows.js'

/**
 * What `--tools` means: a list of schemas as it is, else the list in a JSON file, with its numbers as they are written.
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
