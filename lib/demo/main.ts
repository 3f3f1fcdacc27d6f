/** `npm run demo`: MoRA and LoRA learn new facts on one core, in about a minute. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runDemo } from './demo.js'

await runDemo({
  folder: mkdtempSync(join(tmpdir(), 'node-mora-demo-')),
  facts: 64,
  steps: 60,
  seed: 1,
  terminal: process,
})
