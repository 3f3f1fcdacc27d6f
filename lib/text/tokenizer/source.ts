/** The definition of a tokenizer, from a folder or a GGUF file. */

export interface TokenizerSource {
  /** Content of tokenizer.json. */
  json: Record<string, unknown>
  /** Content of tokenizer_config.json. */
  config: Record<string, unknown>
  /** `bos_token`, `eos_token`, `pad_token` and others, if the tokenizer has them. */
  specialTokens: Readonly<Record<string, string>>
  /** Jinja by name; `default` and `tool_use` (for conversations with tools) are used. */
  chatTemplates: ReadonlyMap<string, string>
  /** Names the folder or file in errors. */
  origin: string
  /** Files to write beside a saved model. */
  files: () => Map<string, string>
}
