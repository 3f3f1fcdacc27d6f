/** Tokens and texts that end generation. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { InputError } from '../common/errors.js'
import { readJsonObject } from '../io/json.js'
import { eosIdsIn } from '../models/families/parse-config.js'
import type { LoadedModel } from '../models/index.js'
import { maskChat } from '../text/chat-mask.js'
import type { ChatTemplate, Message } from '../text/template.js'
import type { Tokenizer } from '../text/tokenizer.js'

/**
 * Returns the EOS tokens of `config.json`, `generation_config.json` and the tokenizer. With a chat template, also the tokens
 * that end an assistant's turn, which the model learns to write.
 */
export async function stopTokens(
  { path, config, tokenizer }: Pick<LoadedModel, 'path' | 'config' | 'tokenizer'>,
  template: ChatTemplate | null,
): Promise<ReadonlySet<number>> {
  const stops = new Set([...config.eosIds, ...(await generationEos(path, config.vocabularySize))])
  if (tokenizer?.eosId !== undefined) stops.add(tokenizer.eosId)
  if (tokenizer && template) for (const end of await endsOfTurns(tokenizer, template)) stops.add(end)
  return stops
}

async function generationEos(modelPath: string, vocabularySize: number): Promise<number[]> {
  const file = join(modelPath, 'generation_config.json')
  if (modelPath === '' || !existsSync(file)) return []
  return eosIdsIn(await readJsonObject(file), file, vocabularySize)
}

const QUESTION: Message = { role: 'user', content: 'Question' }
const ANSWERS: readonly Message[] = [
  { role: 'assistant', content: 'Answer' },
  { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'name', arguments: {} } }] },
]

/** Returns the last trained tokens of an assistant's turns; skips turns that the template refuses or that cannot be found. */
async function endsOfTurns(tokenizer: Tokenizer, template: ChatTemplate): Promise<number[]> {
  const ends: number[] = []
  for (const answer of ANSWERS) {
    try {
      const { ids, mask, openEnds } = await maskChat(tokenizer, template, [QUESTION, answer], 'a conversation')
      const last = mask.lastIndexOf(1)
      if (last < 0) continue
      // Marks of a template may also have the white space behind a turn's end, or leave the end out.
      const isAdded = (id: number) => tokenizer.addedIds.has(id)
      const end = openEnds === 0 ? ids.subarray(0, last + 1).findLast(isAdded) : ids.subarray(last + 1).find(isAdded)
      if (end !== undefined) ends.push(end)
    } catch (error) {
      if (!(error instanceof InputError)) throw error
    }
  }
  return ends
}

/** Ends a text that arrives in pieces, one for each token, before the first of some strings. */
export class StopStrings {
  #pending = ''
  #found: string | undefined
  #tokens = 0

  constructor(
    readonly stops: readonly string[],
    /** Number of first tokens whose text is not searched, and whether the string that is found is returned. */
    readonly settings: { readonly minNewTokens?: number | undefined; readonly includeStop?: boolean | undefined } = {},
  ) {}

  /** The string that was found, of several that begin at one place the longest; no text is returned after it. */
  get found(): string | undefined {
    return this.#found
  }

  /** Adds a piece and returns the text so far that cannot be the beginning of a stop string. */
  push(piece: string): string {
    this.#tokens++
    const { minNewTokens = 0, includeStop = false } = this.settings
    if (this.#tokens <= minNewTokens) return piece
    const text = this.#pending + piece
    const places = this.stops.map((stop) => ({ stop, at: text.indexOf(stop) })).filter(({ at }) => at >= 0)
    const [first] = places.sort((a, b) => a.at - b.at || b.stop.length - a.stop.length)
    const safe = first?.at ?? text.length - Math.max(0, ...this.stops.map((stop) => overlap(text, stop)))
    this.#found = first?.stop
    this.#pending = first ? '' : text.slice(safe)
    return text.slice(0, safe) + (includeStop ? (first?.stop ?? '') : '')
  }

  /** Returns the rest of the text, which turned out to be no stop string. */
  end(): string {
    const pending = this.#pending
    this.#pending = ''
    return pending
  }
}

/** Returns the length of the longest suffix of `text` that is a prefix of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length
  }
  return 0
}
