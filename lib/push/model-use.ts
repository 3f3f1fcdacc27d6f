/** The section of a model card about the use of the model. */

/** Purpose of a model: to generate text, or a task of `mora eval` for models with another head. */
export type ModelUse = 'generate' | 'classify' | 'reward' | 'embed'

/** The hub's names of the purposes. */
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
