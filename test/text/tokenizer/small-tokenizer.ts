/** The tests' own tokenizer: byte-level BPE of 502 tokens, BOS by rule, pad equal to EOS. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { ChatTemplate } from '../../../lib/text/template.js'
import { loadTokenizer, type Tokenizer } from '../../../lib/text/tokenizer.js'

const golden = (path: string) => fileURLToPath(new URL(`../../golden/${path}`, import.meta.url))

export const smallTokenizerFolder = golden('tokenizers/small-bpe')

export async function loadSmallTokenizer(): Promise<Tokenizer> {
  return (await loadTokenizer(smallTokenizerFolder))!
}

export function templatePath(name: string): string {
  return golden(`templates/${name}.jinja`)
}

export async function loadTemplate(name: string, tokenizer: Tokenizer): Promise<ChatTemplate> {
  return new ChatTemplate({
    source: await readFile(templatePath(name), 'utf8'),
    specialTokens: tokenizer.specialTokens,
    origin: name,
  })
}
