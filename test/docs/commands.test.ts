/** Tables of options in docs/commands are those of the schemas. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { kebabCase } from '../../lib/common/option-names.js'
import { optionFacts } from '../../lib/options/index.js'
import { TrainSchema } from '../../lib/options/train.js'
import { root } from './blocks.js'

it('every command has a page whose tables are current', () => {
  execFileSync(process.execPath, [join(root, 'scripts/docs-commands.mjs'), '--check'], { stdio: 'pipe' })
})

it('a table says what an option means', () => {
  const pages = ['train', 'README'].map((name) => readFileSync(join(root, `docs/commands/${name}.md`), 'utf8')).join('')
  for (const [name, schema] of Object.entries(TrainSchema.shape)) {
    const row = pages.split('\n').find((line) => new RegExp(`^\\| \`--${kebabCase(name)}[ \`]`).test(line))
    expect(row, name).toContain(optionFacts(schema).description.split(/[|<]/)[0])
  }
})
