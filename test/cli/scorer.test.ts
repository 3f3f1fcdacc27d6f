/** A scorer in TypeScript. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { lacksBuild, needing } from '../needs.js'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

needing(lacksBuild).test('a scorer in TypeScript is read on every version of Node.js', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mora-scorer-'))
  writeFileSync(join(folder, 'scorer.ts'), 'export default ({ text }: { text: string }): number => text.length\n')
  writeFileSync(join(folder, 'texts.jsonl'), '{"text":"four"}\n')
  writeFileSync(join(folder, 'rows.jsonl'), '{"prompt":"Say four."}\n')
  const argv = 'eval --task generate --data rows.jsonl --predictions texts.jsonl --scorer scorer.ts --json'.split(' ')
  const { status, stdout } = spawnSync(process.execPath, [main, ...argv], { cwd: folder, encoding: 'utf8' })
  rmSync(folder, { recursive: true })
  const json = JSON.parse(stdout)
  expect({ status, json }).toMatchObject({ status: 0, json: { rows: 1, score: 4 } })
})
