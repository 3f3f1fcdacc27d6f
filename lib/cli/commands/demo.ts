import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CommonOptionsSchema } from '../../options/index.js'
import { defineCommand, OPTIONS_OF_MODELS } from '../command.js'

export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'train MoRA and LoRA on the same facts with a tiny model, in about a minute',
  schema: CommonOptionsSchema,
  idle: OPTIONS_OF_MODELS,
  examples: ['mora demo'],
  check() {},
  async run({ json, quiet }, { terminal: { stdout, stderr } }) {
    const { runDemo } = await import('../demo.js')
    const silent = { write() {} }
    const terminal = { stdout: json ? silent : stdout, stderr: quiet ? silent : stderr }
    const folder = mkdtempSync(join(tmpdir(), 'node-mora-demo-'))
    const methods = await runDemo({ folder, facts: 64, steps: 60, seed: 1, terminal })
    return { json: { folder, methods }, text: '' }
  },
})
