/** The model card (README.md) that a repository gets. */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { stringify } from 'yaml'
import { packageVersion } from '../common/package-facts.js'
import { parseHubId } from '../hub/index.js'
import { readJsonObject } from '../io/json.js'
import type { Pushed } from './pushed-files.js'

export const CARD = 'README.md'

/** What the card of a run calls the place where it lies. */
const PLACE = /THIS_FOLDER(\/model)?/g

/** A card as it is, with the repository named where the card of a run says THIS_FOLDER. */
export async function cardFor(path: string, repository: string): Promise<string> {
  return (await readFile(path, 'utf8')).replace(PLACE, repository)
}

/** A card for what has none: what it is, what it is made of where that is known, and how to use it. */
export async function newCard({ kind, files }: Pushed, repository: string): Promise<string> {
  const config = kind === 'adapter' ? files.find(({ name }) => name === 'adapter_config.json') : undefined
  const { base_model_name_or_path: base, use_mora: isMora } = config ? await readJsonObject(config.path) : {}
  const known = typeof base === 'string' && parseHubId(base) ? base : null
  const library = isMora === true ? 'node-mora' : 'peft'
  const header = {
    ...(known !== null && { base_model: known }),
    ...(kind !== 'gguf' && { library_name: kind === 'adapter' ? library : 'transformers' }),
    pipeline_tag: 'text-generation',
    tags: ['node-mora', ...(kind === 'gguf' ? ['gguf'] : [])],
  }
  const gguf = files.find(({ name }) => /^[^/]+\.gguf$/i.test(name))?.name
  const model = kind === 'gguf' ? join(repository, gguf!) : repository
  const use = kind === 'adapter' ? `--model ${known ?? 'BASE_MODEL'} --adapter ${repository}` : `--model ${model}`
  return [
    `---\n${stringify(header)}---`,
    `# ${basename(repository)}`,
    `Pushed by node-mora ${packageVersion()}.`,
    `## Use\n\n\`\`\`sh\nmora generate ${use} --prompt "…"\n\`\`\``,
    '',
  ].join('\n\n')
}
