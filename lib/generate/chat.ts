import { anyText, aSignal, check, optionsSchema } from '../common/arguments.js'
import { randomStream } from '../common/random.js'
import { Engine } from '../engine/index.js'
import type { LoadedModel } from '../models/index.js'
import type { GenerateSettings } from '../options/index.js'
import { type Message, needsTemplate } from '../text/template.js'
import type { GenerateResult } from './continuation.js'
import { type GenerateOptions, generateArguments, splitCall } from './generate-options.js'
import { promptTemplate } from './prompt.js'
import { textRequest, writtenText } from './text-request.js'

const sayArguments = { text: anyText, say: optionsSchema('the options of say', { signal: aSignal.optional() }) }

/**
 * Options of `Chat`: the options of `generate` that hold for a whole conversation.
 *
 * @interface
 */
export type ChatOptions = Omit<
  GenerateOptions,
  ('prompt' | 'prompts' | 'n' | 'messages' | 'continueFinalMessage' | 'addGenerationPrompt') | ('onText' | 'signal')
>

/**
 * A conversation. The prefix cache keeps what a rendered conversation has in common with the one before.
 *
 * ```ts
 * import { Chat, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const chat = new Chat(model, { system: 'Answer in one sentence.', maxNewTokens: 40 })
 * for await (const piece of chat.say('Hello!')) process.stdout.write(piece)
 * chat.dispose()
 * ```
 */
export class Chat implements Disposable {
  /** The messages so far, without the system message. */
  readonly messages: Message[] = []
  readonly #call: ChatOptions
  readonly #settings: GenerateSettings
  readonly #engine: Engine

  /** @throws UsageError for wrong options; the first `say` throws if the model has no chat template */
  constructor(
    /** The model that answers. */
    readonly model: LoadedModel,
    call: ChatOptions = {},
  ) {
    check({ model, call }, generateArguments)
    const { options } = splitCall(call)
    this.#call = call
    this.#settings = options
    this.#engine = new Engine(call.adapters === undefined ? model : model.withAdapters(call.adapters), { sequences: 1 })
  }

  /**
   * Streams the answer to a message; the generator's return value is the result. If the loop is left early, or `signal` is
   * aborted, the part of the answer so far is kept.
   */
  async *say(text: string, say: Pick<GenerateOptions, 'signal'> = {}): AsyncGenerator<string, GenerateResult> {
    check({ text, say }, sayArguments)
    const { signal } = say
    signal?.throwIfAborted()
    const turn = this.messages.length / 2
    if (turn === 0) await this.#requireTemplate()
    const messages = [...this.messages, { role: 'user', content: text }]
    const { onWarning, ...call } = this.#call
    const options = {
      parse: false,
      ...call,
      messages,
      ...(turn === 0 && onWarning && { onWarning }),
      ...(signal && { signal }),
    }
    const random = randomStream(this.#settings.seed, 'generate', turn)
    const view = this.#engine.model.withAdapters()
    const request = { ...(await textRequest(view, options)), random }
    let answer = ''
    try {
      const pieces = writtenText(view, this.#engine, request)
      for (;;) {
        const next = await pieces.next()
        if (next.done) return next.value
        answer += next.value.text
        if (next.value.text !== '') yield next.value.text
      }
    } finally {
      if (answer !== '') this.messages.push(messages.at(-1)!, { role: 'assistant', content: answer })
    }
  }

  async #requireTemplate(): Promise<void> {
    if (await promptTemplate(this.#engine.model, this.#settings)) return
    throw needsTemplate('A chat needs', 'give a prompt')
  }

  /** Starts a new conversation. */
  reset(): void {
    this.messages.length = 0
  }

  /** Frees the memory of keys and values; the model stays. */
  dispose(): void {
    void this.#engine.close()
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
