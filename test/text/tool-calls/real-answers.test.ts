/** What models say, read back in the forms of eleven kinds of templates. */
import { describe, expect, it } from 'vitest'
import { type RandomStream, randomStream } from '../../../lib/common/random.js'
import { answerForm } from '../../../lib/text/tool-calls/find-form.js'
import { answerMessage } from '../../../lib/text/tool-calls/message.js'
import {
  type AnswerOptions,
  AnswerReader,
  type ParsedAnswer,
  parseAnswer,
} from '../../../lib/text/tool-calls/reader.js'
import { assetPath, lacksAsset, lacksTemplates } from '../../assets.js'
import { goldenPath } from '../../golden/files.js'
import { needing } from '../../needs.js'
import { realTemplates } from '../templates/real-templates.js'
import { namedForm, TOOL_CASES, type ToolCase, toolCases } from './tool-cases.js'

const lacksAll = lacksAsset(TOOL_CASES, 'answers with calls')
const some = toolCases(goldenPath('sampling/tools.json'))
const all = lacksAll === null ? toolCases(assetPath(TOOL_CASES)) : { tools: [], cases: [] }

const title = ({ form, variant, template, source, name }: ToolCase) =>
  [form, variant ?? template ?? '', source, name].join(' · ')

function expectSaid(said: ParsedAnswer, one: ToolCase): void {
  const { content, contentParts, reasoning, toolCalls, argumentsText, raw } = one
  const calls = said.toolCalls.map(({ argumentsText: _, ...call }) => call)
  expect({ reasoning: said.reasoning, calls }).toEqual({ reasoning, calls: toolCalls })
  if (content !== undefined) expect(said.content).toBe(content)
  for (const part of contentParts ?? []) expect(said.content).toContain(part)
  const texts = said.toolCalls.map((call) => call.argumentsText)
  expect(texts.map((text) => JSON.parse(text))).toEqual(calls.map((call) => call.arguments))
  // The data set's texts are on one line even where the answer's are not.
  if (argumentsText && !one.variant?.startsWith('indented')) expect(texts).toEqual(argumentsText)
  else if (argumentsText) for (const text of texts) expect(raw).toContain(text)
}

/** Reads an answer in pieces of random lengths. */
function readInPieces(text: string, options: AnswerOptions, random: RandomStream): ParsedAnswer {
  const reader = new AnswerReader(options)
  const said = { content: '', reasoning: '', toolCalls: [] as ParsedAnswer['toolCalls'] }
  const add = (delta: ReturnType<AnswerReader['push']>) => {
    said.content += delta.content
    said.reasoning += delta.reasoning
    said.toolCalls.push(...delta.toolCalls)
  }
  const longest = 1 + random.integer(40)
  for (let at = 0; at < text.length; ) {
    const length = 1 + random.integer(longest)
    add(reader.push(text.slice(at, at + length)))
    at += length
  }
  add(reader.end())
  const { reasoning, ...others } = said
  return reasoning === '' ? others : said
}

function expectRead({ tools, cases }: { tools: unknown[]; cases: ToolCase[] }): void {
  const random = randomStream(Number(process.env.MORA_TEST_SEED ?? 1), 'test', 'pieces')
  const failures: string[] = []
  for (const one of cases) {
    const options = { form: namedForm(one.form), tools: one.tools ?? tools }
    const text = (one.prefill ?? '') + one.raw
    const said = parseAnswer(text, options)
    try {
      expectSaid(said, one)
      for (let i = 0; i < 4; i++) expect(readInPieces(text, options, random)).toEqual(said)
    } catch (error) {
      failures.push(`${title(one)}: ${(error as Error).message}`)
    }
  }
  expect(failures).toEqual([])
}

describe('answers of models', () => {
  it('some are read, whole and in any pieces', () => expectRead(some))

  needing(lacksAll).it('all are read, whole and in any pieces', () => expectRead(all))
})

needing(lacksAll, lacksTemplates).describe('answers under real templates', () => {
  const { tools, cases } = all
  const real = cases.filter(({ source }) => source === 'shared/templates')
  const templates = new Map(
    (lacksTemplates === null ? realTemplates() : []).map(({ name, template }) => [
      `${name}.jinja`,
      { render: async (...given: Parameters<typeof template.render>) => template.render(...given) },
    ]),
  )

  it.each([...new Set(real.map(({ template }) => template!))])('%s: are read and rendered again', async (name) => {
    const template = templates.get(name)!
    const form = await answerForm(template, { tools })
    expect(form.readsCalls).toBe(true)
    const question = { role: 'user', content: 'What time is it?' }
    const prompt = await template.render([question], { tools, addGenerationPrompt: true })
    const before = prompt.slice(0, prompt.length - form.prefill.length)
    for (const one of real.filter((other) => other.template === name)) {
      const { prefill = '', raw, end } = one
      const said = parseAnswer(raw, { form, tools, prefill })
      expectSaid(said, one)
      if (one.prefill === form.prefill) expect(parseAnswer(raw, { form, tools })).toEqual(said)
      const again = await template.render([question, answerMessage(said)], { tools, addGenerationPrompt: false })
      expect(again.trimEnd(), one.name).toBe((before + prefill + raw + end).trimEnd())
    }
  })

  it('templates without calls have no form', async () => {
    for (const name of ['smollm2', 'llama3', 'phi3', 'gemma', 'lfm2'])
      expect((await answerForm(templates.get(`${name}.jinja`)!, { tools })).readsCalls, name).toBe(false)
  })
})
