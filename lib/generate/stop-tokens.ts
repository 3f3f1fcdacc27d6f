/** The tokens at which generation ends. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { maskChat } from '../data/chat-mask.js'
import type { ChatTemplate } from '../data/template.js'
import type { Tokenizer } from '../data/tokenizer.js'
import { InputError } from '../errors.js'
import { readJsonObject } from '../io/json.js'
import type { LanguageModel } from './language-model.js'

/**
 * EOS of the model's `config.json`, of `generation_config.json` and of the tokenizer; with a chat template also the token
 * that ends an assistant's turn there: what training makes the model write.
 */
export async function stopTokens(
  { path, config, tokenizer }: Pick<LanguageModel, 'path' | 'config' | 'tokenizer'>,
  template: ChatTemplate | null,
): Promise<ReadonlySet<number>> {
  const stops = new Set([...config.eosIds, ...(await generationEos(path))])
  if (tokenizer?.eosId !== undefined) stops.add(tokenizer.eosId)
  const end = tokenizer && template ? endOfTurn(tokenizer, template) : undefined
  if (end !== undefined) stops.add(end)
  return stops
}

async function generationEos(modelPath: string): Promise<number[]> {
  const file = join(modelPath, 'generation_config.json')
  if (modelPath === '' || !existsSync(file)) return []
  const { eos_token_id } = await readJsonObject(file)
  return [eos_token_id].flat().filter((id): id is number => Number.isInteger(id))
}

/** The last trained token of an assistant's turn; undefined where the template's turns cannot be told apart. */
function endOfTurn(tokenizer: Tokenizer, template: ChatTemplate): number | undefined {
  const turns = [
    { role: 'user', content: 'Question' },
    { role: 'assistant', content: 'Answer' },
  ]
  try {
    const { ids, mask } = maskChat(tokenizer, template, turns, 'a conversation')
    return ids[mask.lastIndexOf(1)]
  } catch (error) {
    if (error instanceof InputError) return undefined
    throw error
  }
}
