/** What a tokenizer is made from, wherever it comes from. */
import { InputError } from '../../common/errors.js'

export interface TokenizerSource {
  /** Content of tokenizer.json. */
  json: Record<string, unknown>
  /** Content of tokenizer_config.json. */
  config: Record<string, unknown>
  /** `bos_token`, `eos_token`, `pad_token`, ...: those that the tokenizer has. */
  specialTokens: Readonly<Record<string, string>>
  /** Jinja by name: `default` and `tool_use` (for conversations in which functions can be called) are used. */
  chatTemplates: ReadonlyMap<string, string>
  /** Names the folder or file in errors. */
  origin: string
  /** Files to write beside a saved model. */
  files: () => Map<string, string>
}

/** Split behaviours that the tokenizer library treats as `Isolated`. */
const UNSUPPORTED_SPLITS = new Set(['mergedwithprevious', 'mergedwithnext', 'contiguous'])

/**
 * Refuses what the tokenizer library would silently do differently from the model's own tokenizer. Its parts have the types
 * that `checkTokenizerJson` asks for.
 * @throws InputError `unsupported-tokenizer`
 */
export function checkEngineSupport({ json, origin }: TokenizerSource): void {
  const model = json.model as Record<string, unknown>
  if (model.type === 'BPE' && model.continuing_subword_prefix) {
    throw unsupported(origin, 'BPE with a continuing_subword_prefix')
  }
  const spacesReplaced = JSON.stringify(json.normalizer ?? null).includes('"pattern":{"String":" "}')
  for (const part of nested(json.pre_tokenizer)) {
    if (part.type !== 'Split' || !UNSUPPORTED_SPLITS.has(String(part.behavior).toLowerCase())) continue
    const splitsNothing = spacesReplaced && (part.pattern as { String?: string })?.String === ' '
    if (!splitsNothing) throw unsupported(origin, `a Split pre-tokenizer with behavior ${part.behavior}`)
  }
}

function nested(part: unknown): Record<string, unknown>[] {
  if (typeof part !== 'object' || part === null) return []
  const fields = part as Record<string, unknown>
  return [fields, ...(Array.isArray(fields.pretokenizers) ? fields.pretokenizers.flatMap(nested) : [])]
}

function unsupported(origin: string, what: string): InputError {
  return new InputError('unsupported-tokenizer', `${origin}: its tokenizer needs ${what}, which is not supported yet.`)
}
