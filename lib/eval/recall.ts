import { encodeRow } from '../batches/examples/encode.js'
import { randomStream } from '../common/random.js'
import { mapAhead } from '../common/task-limit.js'
import { Engine, type EngineRequest } from '../engine/index.js'
import { continuationText, drain, GREEDY, requireTokenizer } from '../generate/index.js'
import { malformedRow } from '../rows/check.js'
import type { DataRecord } from '../rows/record.js'
import type { TaskContext } from './context.js'
import { taskRecords } from './rows.js'
import { textsAtOnce } from './score.js'

interface RecallRow {
  prompt: string
  completion: string
}

/** The ids of a row's prompt and completion, as in training. */
interface EncodedCompletion {
  prompt: number[]
  /** Tokens of the completion, except the one that ends it. */
  expected: number[]
}

/**
 * Measures how well completions are memorised: generates as many tokens as each has, greedily, and compares the texts character
 * by character at each position.
 */
export async function recall(context: TaskContext) {
  const { model, options, data, reading, done, signal } = context
  const tokenizer = requireTokenizer(model)
  let characters = 0
  let right = 0
  let rows = 0
  let exact = 0
  await using engine = new Engine(model, { sequences: textsAtOnce(options) })
  const written = async (record: DataRecord) => {
    const { where } = record
    const row = reading.training(record)
    if (row.kind !== 'completion' || row.completion.trim() === '') {
      throw malformedRow(where, 'recall needs rows of a prompt and a completion that is not empty')
    }
    const { prompt, expected } = await encodeCompletion(row, where, context)
    const name = `${where}: the prompt`
    const ids = await complete(engine, prompt, { maxNewTokens: expected.length, name, signal })
    const texts = [ids, expected].map((tokens) => continuationText(tokenizer, prompt, tokens))
    const [generated, wanted] = await Promise.all(texts)
    return { row, ...placed(generated!, wanted!, row.completion) }
  }
  const records = taskRecords(data, { limit: options.limit, signal })
  for await (const { row, wanted, written: text } of mapAhead(records, () => engine.sequences - 1, written)) {
    const length = [...wanted].length
    const matched = matchingCharacters([...text], [...wanted])
    rows++
    characters += length
    right += matched
    if (text === wanted) exact++
    await done(
      {
        prompt: row.prompt,
        completion: row.completion,
        generated: text,
        characterAccuracy: matched / length,
        exact: text === wanted,
      },
      `character accuracy ${(right / characters).toFixed(3)}`,
    )
  }
  return {
    /** Share of the characters of all completions that are correct at their position. */
    characterAccuracy: right / characters,
    /** Share of the rows whose whole completion was recalled. */
    exactAccuracy: exact / rows,
  }
}

/** A stream that greedy sampling never reads. */
const UNUSED = randomStream(0, 'greedy')

/** Continues a prompt greedily by `maxNewTokens` tokens; none of them ends it. */
async function complete(
  engine: Engine,
  ids: readonly number[],
  limits: Pick<EngineRequest, 'maxNewTokens' | 'name' | 'signal'>,
): Promise<number[]> {
  const generated: number[] = []
  const request = { ids, ...limits, stopIds: new Set<number>(), sampling: GREEDY, random: UNUSED }
  await drain(engine.write(request), ({ id }) => generated.push(id))
  return generated
}

/** Encodes the row as training does, so that the prompt is the one that was learnt. */
async function encodeCompletion(
  { prompt, completion }: RecallRow,
  where: string,
  { model, template, templateContext: context, signal }: TaskContext,
): Promise<EncodedCompletion> {
  const { tokenizer, config } = model
  const encoded = await encodeRow({ kind: 'completion', prompt, completion }, where, {
    tokenizer,
    template,
    maxLength: Number.MAX_SAFE_INTEGER,
    trainOn: 'completion',
    context,
    signal,
  })
  const { ids, mask } = encoded.rows[0]!.documents[0]!
  if (ids.length > config.maxPositions) {
    throw malformedRow(where, `the row has ${ids.length} tokens and the model ${config.maxPositions} positions`)
  }
  const first = mask.indexOf(1)
  const afterLast = mask.lastIndexOf(1) + 1
  const hasEnd = template !== null || tokenizer?.eosId === ids[afterLast - 1]
  return {
    prompt: [...ids.subarray(0, first)],
    expected: [...ids.subarray(first, hasEnd ? afterLast - 1 : afterLast)],
  }
}

/**
 * Returns the completion as the template renders it, and the text generated in its place: there may be space, or an empty
 * thinking block, before and after it.
 */
function placed(generated: string, expected: string, completion: string): { wanted: string; written: string } {
  const wanted = expected.includes(completion) ? completion : completion.trim()
  const start = Math.max(0, expected.indexOf(wanted))
  const after = expected.slice(start + wanted.length)
  const rest = generated.slice(start)
  const written = after !== '' && rest.endsWith(after) ? rest.slice(0, rest.length - after.length) : rest
  return { wanted, written }
}

function matchingCharacters(generated: readonly string[], wanted: readonly string[]): number {
  return wanted.reduce((count, character, i) => (generated[i] === character ? count + 1 : count), 0)
}
