/** The page for users of OpenAI's fine-tuning names every parameter, and every field of jobs and files, that OpenAI's client has. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { root } from './blocks.js'

const page = readFileSync(join(root, 'docs/openai-fine-tuning.md'), 'utf8')

/** Returns the fields of an interface in the declarations of `openai`. */
function fieldsOf(file: string, name: string): string[] {
  const text = readFileSync(join(root, 'node_modules/openai/resources', `${file}.d.ts`), 'utf8')
  const [, indent = '', body = ''] =
    new RegExp(`^( *)(?:export )?interface ${name} .*\\{\\n([^]*?)\\n\\1\\}`, 'm').exec(text) ?? []
  return [...body.matchAll(new RegExp(`^${indent} {4}(\\w+)\\??:`, 'gm'))].map(([, field]) => field!)
}

it.each([
  ['fine-tuning/jobs/jobs', 'JobCreateParams', 8],
  ['fine-tuning/jobs/jobs', 'Wandb', 4],
  ['fine-tuning/methods', 'SupervisedHyperparameters', 3],
  ['fine-tuning/methods', 'DpoHyperparameters', 4],
  ['fine-tuning/methods', 'ReinforcementHyperparameters', 7],
  ['fine-tuning/methods', 'ReinforcementMethod', 2],
  ['fine-tuning/jobs/jobs', 'FineTuningJob', 18],
  ['fine-tuning/jobs/jobs', 'FineTuningJobEvent', 6],
  ['fine-tuning/jobs/checkpoints', 'FineTuningJobCheckpoint', 7],
  ['files', 'FileCreateParams', 3],
  ['files', 'FileObject', 8],
])('%s: %s', (file, name, least) => {
  const fields = fieldsOf(file, name)
  expect(fields.length).toBeGreaterThanOrEqual(least)
  expect(fields.filter((field) => !page.includes(`\`${field}\``))).toEqual([])
})
