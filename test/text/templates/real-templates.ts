/** Templates that models ship, and conversations rendered with them by transformers and TRL, in MORA_TEST_ASSETS. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseExact } from '../../../lib/io/exact-json.js'
import type { Message } from '../../../lib/text/template.js'
import type { CompiledTemplate } from '../../../lib/text/templates/compiled-template.js'
import { assetPath } from '../../assets.js'
import { compiled } from './compiled.js'

export interface RealConversation {
  name: string
  messages: Message[]
  tools: unknown[] | null
  options: Record<string, unknown>
  text?: string
  error?: string
  generationPrompt?: string
  generationPromptError?: string
  /** Spans [start, end) of `text`, or of `trainingText` where there is one. */
  trained?: [number, number][]
  trainingText?: string
}

export interface RealTemplate {
  name: string
  template: CompiledTemplate
  /** The same with `{% generation %}` marks. */
  trainingTemplate: CompiledTemplate | null
  specialTokens: string[]
  addedTokens: string[]
  eosToken: string
  conversations: RealConversation[]
}

interface File {
  bosToken: string | null
  eosToken: string | null
  trainingTemplate: string | null
  specialTokens: string[]
  addedTokens: string[]
  conversations: RealConversation[]
}

export function realTemplates(): RealTemplate[] {
  const folder = assetPath('templates')
  const names = readdirSync(folder).filter((file) => file.endsWith('.json'))
  return names.map((file) => {
    const name = file.replace('.json', '')
    const { bosToken, eosToken, trainingTemplate, specialTokens, addedTokens, conversations } = parseExact(
      readFileSync(join(folder, file), 'utf8'),
    ) as File
    const tokens = {
      ...(bosToken !== null && { bos_token: bosToken }),
      ...(eosToken !== null && { eos_token: eosToken }),
    }
    return {
      name,
      template: compiled(readFileSync(join(folder, `${name}.jinja`), 'utf8'), tokens, name),
      trainingTemplate: trainingTemplate === null ? null : compiled(trainingTemplate, tokens, name),
      specialTokens,
      addedTokens,
      eosToken: eosToken ?? '',
      conversations,
    }
  })
}
