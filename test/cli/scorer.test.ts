/** A scorer in TypeScript, read by Node.js itself. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { lacksBuild, needing } from '../needs.js'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

needing(lacksBuild).test(
  'a scorer in TypeScript is read where Node.js reads it, and otherwise refused by what is needed',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'mora-scorer-'))
    writeFileSync(join(folder, 'scorer.ts'), 'export default ({ text }: { text: string }): number => text.length\n')
    writeFileSync(join(folder, 'texts.jsonl'), '{"text":"four"}\n')
    writeFileSync(join(folder, 'rows.jsonl'), '{"prompt":"Say four."}\n')
    const argv = 'eval --task generate --data rows.jsonl --predictions texts.jsonl --scorer scorer.ts --json'.split(' ')
    const { status, stdout } = spawnSync(process.execPath, [main, ...argv], { cwd: folder, encoding: 'utf8' })
    rmSync(folder, { recursive: true })
    const json = JSON.parse(stdout)
    if ((process.features as { typescript?: unknown }).typescript) {
      expect({ status, json }).toMatchObject({ status: 0, json: { rows: 1, score: 4 } })
    } else {
      expect({ status, code: json.error.code }).toEqual({ status: 2, code: 'bad-scorer' })
      expect(json.error.message).toContain('scorer.ts is TypeScript, which Node.js')
      expect(json.error.message).toContain('use Node.js 22.18 or newer, or write JavaScript.')
    }
  },
)
