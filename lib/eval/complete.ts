import { randomStream } from '../common/random.js'
import { type ContinuationRequest, continueTokens, drain, GREEDY, type PromptCache } from '../generate/index.js'

type Stops = Partial<Pick<ContinuationRequest, 'stopIds'>>

const NO_STOPS: ReadonlySet<number> = new Set()
/** A stream that greedy sampling never reads. */
const UNUSED = randomStream(0, 'greedy')

/**
 * Continues a prompt greedily; the result leaves out the token that ended it.
 */
export async function complete(
  cache: PromptCache,
  ids: readonly number[],
  { stopIds = NO_STOPS, ...limits }: Pick<ContinuationRequest, 'maxNewTokens' | 'name' | 'signal'> & Stops,
): Promise<number[]> {
  const generated: number[] = []
  const request = { ids, ...limits, stopIds, sampling: GREEDY, random: UNUSED }
  await drain(continueTokens(cache, request), (id) => generated.push(id))
  if (stopIds.has(generated.at(-1)!)) generated.pop()
  return generated
}
