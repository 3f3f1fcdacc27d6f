import { continueTokens, drain, GREEDY, type PromptCache } from '../generate/index.js'
import { randomStream } from '../random.js'

const NO_STOPS: ReadonlySet<number> = new Set()
/** A stream that greedy sampling never reads. */
const UNUSED = randomStream(0, 'greedy')

/**
 * Continues a prompt greedily; the result leaves out the token that ended it.
 * @param name names the prompt in errors
 */
export async function complete(
  cache: PromptCache,
  ids: readonly number[],
  {
    maxNewTokens,
    stopIds = NO_STOPS,
    name,
    signal,
  }: { maxNewTokens: number; stopIds?: ReadonlySet<number>; name: string; signal: AbortSignal | undefined },
): Promise<number[]> {
  const generated: number[] = []
  const request = { ids, maxNewTokens, stopIds, sampling: GREEDY, random: UNUSED, name, signal }
  await drain(continueTokens(cache, request), (id) => generated.push(id))
  if (stopIds.has(generated.at(-1)!)) generated.pop()
  return generated
}
