/** Trained parts of conversations under templates that models ship, against TRL's (in MORA_TEST_ASSETS). */
import { expect, it } from 'vitest'
import type { CompiledTemplate } from '../../../lib/text/templates/compiled-template.js'
import { lacksTemplates } from '../../assets.js'
import { needing } from '../../needs.js'
import { maskChat } from '../templates/compiled.js'
import { type RealConversation, type RealTemplate, realTemplates } from '../templates/real-templates.js'
import { tokenizerOf } from '../tokenizer/visible-tokenizer.js'

type Stretch = [start: number, end: number]

interface Masked {
  text: string
  stretches: Stretch[]
}

function masked(
  { specialTokens, addedTokens }: RealTemplate,
  template: CompiledTemplate,
  conversation: RealConversation,
): Masked {
  const tokenizer = tokenizerOf({ special: specialTokens, added: addedTokens })
  const { messages, tools, options } = conversation
  const { ids, mask } = maskChat(tokenizer, template, messages, 'row 1', { tools, templateOptions: options })
  const stretches: Stretch[] = []
  let start = 0
  for (const [i, id] of ids.entries()) {
    const end = start + tokenizer.tokenOf(id)!.length
    if (mask[i]) stretches.push([start, end])
    start = end
  }
  return { text: ids.map((id) => tokenizer.tokenOf(id)).join(''), stretches: joined(stretches) }
}

function joined(stretches: readonly Stretch[]): Stretch[] {
  const all: Stretch[] = []
  for (const [start, end] of stretches) {
    if (all.at(-1)?.[1] === start) all.at(-1)![1] = end
    else all.push([start, end])
  }
  return all
}

/** The untrained parts of a span: before, between and after the trained ones. */
function leftOut([start, end]: Stretch, trained: readonly Stretch[]): string[][] {
  const inside = trained.filter(([from, to]) => from >= start && to <= end)
  if (inside.length === 0) return [[], [], []]
  const between = inside.slice(1).map(([from], i) => [inside[i]![1], from])
  return [[[start, inside[0]![0]]], between, [[inside.at(-1)![1], end]]] as unknown as string[][]
}

/** Pieces of a text at given places. */
const cut = (text: string, places: unknown): string[] => (places as Stretch[]).map(([from, to]) => text.slice(from, to))

needing(lacksTemplates).describe('what is trained', () => {
  const templates = lacksTemplates === null ? realTemplates() : []
  const count = { compared: 0, otherText: 0, withoutSpans: 0 }

  it.each(templates.map((real) => [real.name, real] as const))(
    '%s: trained parts are the spans of TRL without openings',
    (_, real) => {
      for (const conversation of real.conversations) {
        if (conversation.text === undefined) continue
        const { text, stretches } = masked(real, real.template, conversation)
        const at = `${real.name}: ${conversation.name}`
        const prompt = promptOf(conversation)
        const answers = conversation.messages.filter(({ role }) => role === 'assistant').length
        if (!conversation.trained || text !== (conversation.trainingText ?? conversation.text)) {
          count[conversation.trained ? 'otherText' : 'withoutSpans']++
          checkApart(real, conversation, { text, stretches }, at)
          expect(stretches.length, at).toBeLessThanOrEqual(answers)
          continue
        }
        count.compared++
        const spans = joined(conversation.trained)
        for (const [start, end] of stretches) {
          expect(
            spans.some(([from, to]) => start >= from && end <= to),
            `${at}: ${text.slice(start, end)}`,
          ).toBe(true)
        }
        for (const span of spans) {
          const isSilent = !stretches.some(([start]) => start >= span[0] && start < span[1])
          if (isSilent && isEndAlone(text.slice(...span))) continue
          const [before, between, after] = leftOut(span, stretches).map((places) => cut(text, places))
          expect(before, at).toHaveLength(1)
          for (const piece of [...before!, ...between!]) expect(prompt, at).toContain(piece.trimStart())
          for (const piece of after!) expect(piece.replace(real.eosToken, '').trim(), at).toBe('')
        }
      }
    },
  )

  it('most conversations have a reference', () => {
    console.info(`masks: ${JSON.stringify(count)}`)
    expect(count.compared).toBeGreaterThan(400)
  })
})

/** The text that a template adds to prompt for an answer. */
function promptOf({ text, generationPrompt = '' }: RealConversation): string {
  let alike = 0
  while (alike < text!.length && text![alike] === generationPrompt[alike]) alike++
  return generationPrompt.slice(alike)
}

/** Where the training template writes another text, or there is none: each stretch ends a span of it, or is an answer with its end. */
function checkApart(real: RealTemplate, conversation: RealConversation, { text, stretches }: Masked, at: string): void {
  const trained = stretches.map(([start, end]) => text.slice(start, end))
  const ends = real.specialTokens.filter((token) => trained.every((one) => one.endsWith(token)))
  if (trained.length > 0) expect(ends.length, `${at}: ${trained}`).toBeGreaterThan(0)
  if (conversation.trained) {
    const other = conversation.trainingText ?? conversation.text!
    const spans = joined(conversation.trained)
      .map(([start, end]) => other.slice(start, end).trimEnd())
      .filter((span) => !isEndAlone(span))
    const said = trained.filter((one) => !isEndAlone(one))
    expect(said, at).toHaveLength(spans.length)
    for (const [i, one] of said.entries()) expect(asWritten(spans[i]!), at).toContain(asWritten(one))
  } else {
    for (const message of conversation.messages) {
      if (message.role === 'assistant') continue
      for (const one of trained)
        if (String(message.content).length > 12) expect(one, at).not.toContain(String(message.content).trim())
    }
  }
}

/** Tells whether a span is the end of a turn alone: TRL trains it even if the template leaves out what the turn says. */
const isEndAlone = (span: string): boolean => span.replace(/<[^<>\n]*>/g, '').trim() === ''

/** Parts are printed there, and JSON is quoted once more. */
function asWritten(text: string): string {
  return text
    .replace(/\[?\{'type': 'text', 'text': '([^']*)'\}(?:, |\])/g, '$1')
    .replace(/"(\{.*\})"/g, (_, json) => json.replaceAll('\\"', '"'))
}
