/** Fill-in-the-middle: a text between two others, marked by the tokens that code models were trained with. */
import { theOption } from '../../common/option-names.js'
import { malformedRow } from '../check.js'
import { formsFor } from '../forms.js'
import type { RowKind } from './kind.js'

type InfillPart = 'prefix' | 'suffix' | 'middle'

const infilling = formsFor<InfillPart>('the middle, with its end token')

/** The tokens that stand before the prefix, the suffix and the middle; and the token that ends the middle, if it is not EOS. */
const MARKS: readonly (readonly [prefix: string, suffix: string, middle: string, end?: string])[] = [
  // Qwen2.5-Coder, CodeGemma
  ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'],
  // StarCoder, Granite Code
  ['<fim_prefix>', '<fim_suffix>', '<fim_middle>'],
  // SantaCoder
  ['<fim-prefix>', '<fim-suffix>', '<fim-middle>'],
  // DeepSeek-Coder
  ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'],
  // CodeLlama
  ['▁<PRE>', '▁<SUF>', '▁<MID>', '▁<EOT>'],
]

/** Prefix, suffix and middle, in this order, without a chat template. Each is tokenised by itself. */
export const infill: RowKind<InfillPart> = {
  needs: 'prefix, suffix and middle',
  parts: ['prefix', 'suffix', 'middle'],
  forms: [infilling('infill', 'code to fill in', { prefix: ['prefix'], suffix: ['suffix'], middle: ['middle'] })],
  fits: ({ prefix, suffix, middle }) => Boolean(prefix && suffix && middle),
  read(row) {
    if (row.hasContext) {
      throw malformedRow(
        row.where,
        `a system message, a history, tools and options of a template have no place beside prefix, suffix and middle; leave their columns out (${theOption('ignoreColumns', ['COLUMN'])})`,
      )
    }
    const texts = (['prefix', 'suffix', 'middle'] as const).map((part) => row.text(part))
    return {
      kind: 'own',
      async encode(tokenizer, signal) {
        const marks = MARKS.find((tokens) => tokens.slice(0, 3).every((token) => tokenizer.idOf(token!) !== undefined))
        if (!marks) {
          throw malformedRow(
            row.where,
            "prefix, suffix and middle need a model with tokens for them, such as <|fim_prefix|>, and this model's tokenizer has none; join them as a text, or train a code model",
          )
        }
        // An empty text is BOS, by the tokenizer's own rule.
        const [start, ...parts] = await Promise.all([
          tokenizer.encodeText('', signal),
          ...texts.map((text) => tokenizer.encodeContinuation(text, signal)),
        ])
        const [prefix, suffix, middle, end = tokenizer.eosId] = marks.map((token) => tokenizer.idOf(token!))
        return {
          prompt: [...start, prefix!, ...parts[0]!, suffix!, ...parts[1]!, middle!],
          completion: [...parts[2]!, ...(end === undefined ? [] : [end])],
        }
      },
    }
  },
}
