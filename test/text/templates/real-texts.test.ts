/** Templates that models ship render as in transformers (texts in MORA_TEST_ASSETS). */
import { expect, it } from 'vitest'
import type { Message } from '../../../lib/text/template.js'
import { renderContinued } from '../../../lib/text/templates/continued.js'
import { lacksTemplates } from '../../assets.js'
import { needing } from '../../needs.js'
import { type RealConversation, type RealTemplate, realTemplates } from './real-templates.js'

/** The conversation to pass if a template cannot render the original. */
function plainer(messages: readonly Message[], rounds: (call: unknown) => unknown): Message[] {
  return messages.map((message) => ({
    ...message,
    content: Array.isArray(message.content)
      ? message.content.map(({ text }) => text).join('')
      : (message.content ?? ''),
    ...(message.tool_calls !== undefined && { tool_calls: (message.tool_calls as unknown[]).map(rounds) }),
  }))
}

interface Call {
  function: { arguments: unknown }
}
const asObject = (call: unknown) =>
  changedArguments(call as Call, (given) => (typeof given === 'string' ? JSON.parse(given) : given))
const asIs = (call: unknown) => call
const changedArguments = (call: Call, change: (given: unknown) => unknown) => ({
  ...call,
  function: { ...call.function, arguments: change(call.function.arguments) },
})

function renderAll({ template }: RealTemplate, conversation: RealConversation, messages: readonly Message[]) {
  const context = { tools: conversation.tools, templateOptions: conversation.options }
  return [false, true].map((addGenerationPrompt) => {
    try {
      return template.render(messages, { ...context, addGenerationPrompt })
    } catch (error) {
      expect(error).toMatchObject({
        code: 'template-failed',
        message: expect.stringMatching(/^The chat template of .*\.$/),
      })
      return undefined
    }
  })
}

needing(lacksTemplates).describe('real templates', () => {
  const templates = lacksTemplates === null ? realTemplates() : []
  const count = { equal: 0, better: 0, refused: 0 }

  it.each(templates.map((real) => [real.name, real] as const))('%s: the texts of transformers', (_, real) => {
    for (const conversation of real.conversations) {
      const { name, text, generationPrompt, messages } = conversation
      const made = renderAll(real, conversation, messages)
      if (made[0] === text && made[1] === generationPrompt) {
        count[text === undefined ? 'refused' : 'equal']++
        continue
      }
      count.better++
      // Transformers prints the list of parts, or drops it, or fails; else it fails where a content or arguments are of another form.
      if (text !== undefined) expect(`${real.name}: ${name}`).toMatch(/: parts/)
      const forms = [asIs, asObject].map((form) => renderAll(real, conversation, plainer(messages, form)))
      expect(forms, `${real.name}: ${name}`).toContainEqual(made)
    }
  })

  it('are equal except where transformers cannot render', () => {
    console.info(`texts: ${JSON.stringify(count)}`)
    expect(count.equal).toBeGreaterThan(600)
  })

  it.each(templates.map((real) => [real.name, real] as const))('%s: ends at the text to continue', async (_, real) => {
    let cut = 0
    for (const { messages, tools, options, text } of real.conversations) {
      const { role, content } = messages.at(-1)!
      if (text === undefined || role !== 'assistant' || typeof content !== 'string' || content.trim() === '') continue
      const render = (given: readonly Message[]) =>
        real.template.render(given, { tools, templateOptions: options, addGenerationPrompt: false })
      const said = content.trim()
      const at = text.lastIndexOf(said)
      if (render(messages) !== text) continue
      if (at < 0) {
        await expect(renderContinued(messages, render)).rejects.toThrow(/does not print the text/)
        continue
      }
      // As transformers did before it had a mark: after the last place of the text.
      const whole = content.trimStart()
      const end = text.startsWith(whole, at) ? whole.length : said.length
      expect(await renderContinued(messages, render)).toBe(text.slice(0, at + end))
      cut++
    }
    expect(cut).toBeGreaterThan(3)
  })
})
