import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { modelCard } from '../../../lib/train/output/model-card.js'
import type { RunFacts } from '../../../lib/train/run-facts.js'
import { initialState } from '../../../lib/train/trainer-state.js'

function card(options: object, isAdapter = true): { text: string; head: Record<string, unknown> } {
  const facts: RunFacts = {
    options: { model: 'owner/base', data: ['rows.jsonl'], method: 'mora', ...options },
    machine: { device: 'cpu', processor: 'A1', threads: 1, dtype: 'float32', tokenBudget: 256, ranks: 1 },
    versions: {},
    hashes: { model: 'a'.repeat(64), data: 'b', evalData: null },
    trainable: { tensors: 1, parameters: 1 },
  }
  const text = modelCard(facts, initialState(), { isAdapter, resultStep: null })
  return { text, head: parse(text.split('---\n')[1]!) }
}

describe('a model card', () => {
  it.each([
    ['mora', true, 'node-mora'],
    ['lora', true, 'peft'],
    ['hira', true, 'peft'],
    ['a method from elsewhere', true, 'node-mora'],
    ['full', false, 'transformers'],
  ])('of %s names the library that loads it', (method, isAdapter, library) => {
    expect(card({ method }, isAdapter).head.library_name).toBe(library)
  })

  it.each([
    ['sft', 'text-generation', 'mora generate --model BASE_MODEL --adapter THIS_FOLDER --prompt "…"'],
    ['classify', 'text-classification', 'mora eval --model BASE_MODEL --adapter THIS_FOLDER --task classify'],
    ['reward', 'text-classification', '--task reward'],
    ['embed', 'sentence-similarity', '--task embed'],
  ])('of %s says what it is for', (objective, tag, command) => {
    const { text, head } = card({ objective })
    expect(head.pipeline_tag).toBe(tag)
    expect(text).toContain(command)
  })

  it('names no folder of this machine', () => {
    const { text, head } = card({
      model: '/home/me/models/base.gguf',
      data: ['/home/me/secret/rows.jsonl', 'more.jsonl'],
    })
    expect(text).not.toContain('/home')
    expect(head.base_model).toBe('base.gguf')
    expect(text).toContain('| Data | rows.jsonl, more.jsonl |')
  })

  it('keeps its form whatever names contain', () => {
    const { text, head } = card({ model: 'a\nb|c', data: ['one\n| two |', 'x|y'] })
    expect(head.base_model).toBe('a\nb|c')
    expect(text).toContain('# a b|c, trained with mora\n')
    expect(text).toContain('| Data | one \\| two \\|, x\\|y |')
    const table = text.slice(text.indexOf('| | |')).split('\n\n')[0]!
    expect(table.split('\n').every((line) => /^\|.*\|$/.test(line))).toBe(true)
  })
})
