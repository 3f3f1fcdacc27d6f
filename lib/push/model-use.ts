/** What a model is for, on its card. */

/** Its purpose: texts, or one of the tasks of `mora eval` for models without them. */
export type ModelUse = 'generate' | 'classify' | 'reward' | 'embed'

/** The hub's names of what models do. */
const TAGS: Readonly<Record<ModelUse, string>> = {
  generate: 'text-generation',
  classify: 'text-classification',
  reward: 'text-classification',
  embed: 'sentence-similarity',
}

export const pipelineTag = (use: ModelUse): string => TAGS[use]

/** Returns the section of a card that shows how to use a model, which options name. */
export function useSection(use: ModelUse, options: string): string {
  const command =
    use === 'generate'
      ? `mora generate ${options} --prompt "…"`
      : `mora eval ${options} --task ${use} --data ROWS.jsonl`
  return `## Use\n\n\`\`\`sh\n${command}\n\`\`\``
}
