/** Finds the syntax of a template's answers by rendering conversations with it. */
import { isDeepStrictEqual } from 'node:util'
import { check, having, optionsSchema } from '../../common/arguments.js'
import { InputError } from '../../common/errors.js'
import type { ChatTemplate, Message, RenderOptions, TemplateContext } from '../template.js'
import { AnswerForm, REASONING, type ReasoningTags, SYNTAXES } from './forms.js'
import { answerMessage } from './message.js'
import { parseAnswer } from './reader.js'

const formArguments = {
  template: having('a chat template', 'render'),
  context: optionsSchema('the context of a template', {}),
}

const QUESTION: Message = { role: 'user', content: 'Question' }
const ANSWER = 'Answer'
const THOUGHT = 'Thought'
const CALL = {
  // Some templates take ids of exactly nine letters and digits.
  id: 'a1B2c3D4e',
  name: 'probe',
  arguments: { text: 'Text', number: 1.5 },
  argumentsText: '{"text": "Text", "number": 1.5}',
}
const TOOL = {
  type: 'function',
  function: {
    name: CALL.name,
    description: 'Probe.',
    parameters: {
      type: 'object',
      properties: {
        text: { type: 'string', description: 'Text.' },
        number: { type: 'number', description: 'Number.' },
      },
      required: ['text', 'number'],
    },
  },
}

/**
 * Finds how a model writes calls and reasoning, and what the generation prompt begins of its answers, by rendering conversations
 * with the model's template. Hermes, Qwen, GLM, Llama, gpt-oss, Gemma 4, LFM2, Mistral, Kimi, DeepSeek, Granite and SmolLM3 have
 * forms that are known.
 *
 * @param context what the template is rendered with: tools, and options such as `enable_thinking`
 */
export async function answerForm(
  template: Pick<ChatTemplate, 'render'>,
  context: TemplateContext = {},
): Promise<AnswerForm> {
  check({ template, context }, formArguments)
  const render = async (messages: readonly Message[], options: Partial<RenderOptions> = {}): Promise<string> => {
    try {
      return await template.render(messages, { ...context, addGenerationPrompt: false, ...options })
    } catch (error) {
      if (error instanceof InputError) return ''
      throw error
    }
  }
  const probing = { tools: [TOOL] }
  const prompting = { addGenerationPrompt: true }
  const reasoned = answerMessage({ content: '', reasoning: THOUGHT, toolCalls: [CALL] })
  const thinking = ({ open, close }: ReasoningTags): Message[] => [
    QUESTION,
    { role: 'assistant', content: `${open}${THOUGHT}${close}${ANSWER}` },
    QUESTION,
  ]
  const [prompt, probePrompt, plain, called, withReasoning, ...thought] = await Promise.all([
    render([QUESTION], prompting),
    render([QUESTION], { ...probing, ...prompting }),
    render([QUESTION, { role: 'assistant', content: ANSWER }], probing),
    render([QUESTION, answerMessage({ content: '', toolCalls: [CALL] })], probing),
    render([QUESTION, reasoned], probing),
    ...REASONING.map((tags) => render(thinking(tags))),
  ])
  const prefills = REASONING.map(({ open, close }) => prefillOf(prompt, open, close))
  const reasoning = REASONING.filter(({ open, close }, i) => {
    const isWritten = new RegExp(`${escaped(open)}\\s*${THOUGHT}\\s*${escaped(close)}`).test(withReasoning)
    const isDropped = thought[i]!.includes(ANSWER) && !thought[i]!.includes(THOUGHT)
    return isWritten || isDropped || prefills[i] !== ''
  })
  const end = plain.slice(plain.lastIndexOf(ANSWER) + ANSWER.length)
  const turn = called.slice(sharedLength(probePrompt, called))
  const answer = end !== '' && turn.endsWith(end) ? turn.slice(0, -end.length) : turn
  const found = Object.values(SYNTAXES).find((syntax) => {
    const form = new AnswerForm('', syntax, [])
    const [call, ...others] = parseAnswer(answer, { form, tools: [TOOL] }).toolCalls
    return others.length === 0 && isDeepStrictEqual(call?.arguments, CALL.arguments)
  })
  return new AnswerForm(prefills.find((text) => text !== '') ?? '', found ?? { calls: [] }, reasoning)
}

const forms = new WeakMap<object, Map<string, Promise<AnswerForm>>>()

/** Does what `answerForm` does, once for a template with the same options, with or without tools. */
export function knownAnswerForm(template: ChatTemplate, context: TemplateContext): Promise<AnswerForm> {
  const known = forms.get(template) ?? new Map<string, Promise<AnswerForm>>()
  forms.set(template, known)
  const key = JSON.stringify([Boolean(context.tools), context.templateOptions ?? {}])
  const form = known.get(key) ?? answerForm(template, context)
  known.set(key, form)
  return form
}

/** Returns the reasoning with which a prompt ends, open or closed; empty if there is none. */
function prefillOf(prompt: string, open: string, close: string): string {
  const begun = prompt.slice(prompt.lastIndexOf(open))
  return new RegExp(`^${escaped(open)}\\s*(?:${escaped(close)}\\s*)?$`).test(begun) ? begun : ''
}

const escaped = (text: string): string => text.replace(/[[\]|/]/g, '\\$&')

function sharedLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}
