/** YAML of options, cards and runs, which may come from others. */
import { parse } from 'yaml'

/** Characters. The package compares every key of a mapping with every other: ten times as many take a hundred times as long. */
const MOST = 2 ** 17
/** An alias in an alias in an alias makes any size out of a few lines. */
const MOST_ALIASES = 100

/**
 * What a text says, of which JSON could be made.
 * @throws Error that says in one line what is wrong with it
 */
export function parseYaml(text: string): unknown {
  if (text.length > MOST) throw new Error(`it has ${text.length} characters, and ${MOST} are read at most`)
  let content: unknown
  try {
    content = parse(text, { logLevel: 'error', maxAliasCount: MOST_ALIASES })
  } catch (cause) {
    const [firstLine] = (cause as Error).message.split('\n')
    throw new Error(firstLine?.replace(/[.:]$/, ''), { cause })
  }
  try {
    JSON.stringify(content)
  } catch (cause) {
    throw new Error('an alias in it stands for what the alias is in', { cause })
  }
  return content
}
