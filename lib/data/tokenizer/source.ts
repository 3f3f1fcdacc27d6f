/** What a tokenizer is made from, wherever it comes from. */

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
