import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DEMO_MODEL, randomFacts, randomUuid, runDemo } from '../lib/cli/demo.js'
import { testTerminal } from './cli/terminal.js'

const FACTS = 6
const SEED = 3

describe('the demo, with a few facts', () => {
  const terminal = testTerminal()
  let results: Awaited<ReturnType<typeof runDemo>>
  const output = mkdtempSync(join(tmpdir(), 'mora-demo-test-'))
  beforeAll(async () => {
    results = await runDemo({ folder: output, facts: FACTS, steps: 30, seed: SEED, terminal })
  })
  afterAll(() => rmSync(output, { recursive: true, force: true }))

  it('gives MoRA at most as many trained parameters as LoRA, and only a few fewer', () => {
    const [mora, lora] = results as [(typeof results)[number], (typeof results)[number]]
    expect([mora.method, lora.method]).toEqual(['MoRA', 'LoRA'])
    expect(mora.trainableParameters).toBeLessThanOrEqual(lora.trainableParameters)
    expect(mora.trainableParameters).toBeGreaterThan(0.95 * lora.trainableParameters)
  })

  it('teaches MoRA the facts', () => {
    expect(results[0]!.characterAccuracy).toBeGreaterThan(0.9)
  })

  it('shows progress on stderr and a table of recalled facts on stdout', () => {
    const { stdout, stderr } = terminal.written
    for (const { method, exactAccuracy } of results) {
      expect(stderr).toMatch(new RegExp(`^${method} {2}step 30/30 {2}loss `, 'm'))
      expect(stdout).toMatch(new RegExp(`^${method} .* ${Math.round(exactAccuracy * FACTS)} of ${FACTS}$`, 'm'))
    }
  })

  it('merges, and the merged model answers from its own folder', () => {
    expect(readdirSync(join(output, 'merged'))).toEqual(
      expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']),
    )
    const [{ prompt, completion }] = randomFacts(FACTS, SEED) as [{ prompt: string; completion: string }]
    const { stdout } = terminal.written
    expect(stdout).toContain(`asked     ${prompt}`)
    const answered = /^answered {2}(.*)$/m.exec(stdout)![1]!
    const expected = /^expected {2}(.*)$/m.exec(stdout)![1]!
    expect(expected).toBe(answered === completion ? `${completion} (the same)` : completion)
  })

  it('names only existing paths', () => {
    const paths = terminal.written.stdout.match(new RegExp(`${output}[\\w./-]*`, 'g'))!
    expect(paths.length).toBeGreaterThan(2)
    for (const path of paths) expect(existsSync(path), path).toBe(true)
  })
})

describe('the demo model', () => {
  it('is at most 3 MB', () => {
    const bytes = readdirSync(DEMO_MODEL).reduce((sum, name) => sum + statSync(join(DEMO_MODEL, name)).size, 0)
    expect(bytes).toBeLessThanOrEqual(3_000_000)
  })
})

describe('facts', () => {
  it('are a function of the seed', () => {
    expect(randomFacts(3, 1)).toEqual(randomFacts(3, 1))
    expect(randomFacts(3, 1)).not.toEqual(randomFacts(3, 2))
  })

  it('are version 4 UUIDs', () => {
    const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
    expect(randomUuid((limit) => limit - 1)).toBe('ffffffff-ffff-4fff-bfff-ffffffffffff')
    for (const { prompt, completion } of randomFacts(20, 5)) {
      expect(prompt.slice(0, -1)).toMatch(uuid)
      expect(prompt.at(-1)).toBe(':')
      expect(completion).toMatch(uuid)
    }
  })

  it('of the examples are those of the demo', () => {
    const lines = readFileSync(new URL('../examples/facts.jsonl', import.meta.url), 'utf8')
      .trimEnd()
      .split('\n')
    expect(lines.map((line) => JSON.parse(line))).toEqual(randomFacts(64, 1))
  })
})
