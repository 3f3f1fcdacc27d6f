/** The reference of the library, as "npm run docs" makes it. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { brokenLinks } from './docs/links.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'mora-reference-'))
let said: { status: number | null; output: string }

beforeAll(() => {
  const typedoc = join(root, 'node_modules', 'typedoc', 'bin', 'typedoc')
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [typedoc, '--markdown', folder, '--logLevel', 'Warn'],
    { cwd: root, encoding: 'utf8' },
  )
  said = { status, output: stdout + stderr }
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('has no warnings: everything public is described, and every link in a description resolves', () => {
  expect(said).toEqual({ status: 0, output: '' })
})

it('has no broken link in its Markdown form', () => {
  const pages = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md'))
  expect(pages).toEqual(
    expect.arrayContaining([
      'node-mora/adapters/README.md',
      'node-mora/ai/README.md',
      'documents/docs/getting-started.md',
    ]),
  )
  expect(pages.flatMap((page) => brokenLinks(folder, page))).toEqual([])
})
