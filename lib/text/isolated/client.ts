/**
 * Renders chat templates and runs tokenizers in a child process. Both come with a model, from anyone: they may loop forever,
 * fill the memory or crash, inside a single operation too, and only a process can then be stopped.
 */
import { RunError } from '../../common/errors.js'
import { currentVoice } from '../../common/option-names.js'
import { type BeginningToken, type MaskedChat, maskOf } from '../masks/mask-answers.js'
import type { AddedToken } from '../masks/token-marks.js'
import { noCounts, type Span } from '../masks/turn-texts.js'
import type { RenderOptions, TemplateContext, TemplateDefinition } from '../templates/compiled-template.js'
import type { Message } from '../templates/messages.js'
import { type TokenizerDefinition, TokenizerEngine, type TokenizerTask } from '../tokenizer/engine.js'
import { ProcessLane, type Waiting } from './lane.js'
import { type ChatValue, type Request, type Shared, sizeOf } from './requests.js'

let lastId = 0
const ids = new WeakMap<object, number>()

function idOf(value: object): number {
  const id = ids.get(value) ?? ++lastId
  ids.set(value, id)
  return id
}

/**
 * Renders a conversation.
 * @param template pass the same object for the same template, since it is sent once
 * @throws InputError `template-failed` if the template takes too much time or memory, and whatever rendering throws
 * @throws RunError `no-process`
 */
export function askForText(
  template: TemplateDefinition,
  messages: readonly Message[],
  options: RenderOptions,
  signal?: AbortSignal,
): Promise<string> {
  const request: Request = { asks: 'rendering', template: idOf(template), messages, options, voice: currentVoice() }
  const shared = [{ id: idOf(template), template }]
  return ask({ shared, request, origins: { template: template.origin }, signal }) as Promise<string>
}

/** A conversation to encode. */
export interface Conversation {
  messages: readonly Message[]
  context: TemplateContext
  /** Names the row in errors. */
  where: string
}

/**
 * The parts of a tokenizer that encode a rendered conversation. Pass the same objects for the same tokenizer, since each object
 * is sent once.
 */
export interface ChatTokenizer {
  tokenizer: TokenizerDefinition
  /** The tokenizer of texts that follow others. */
  continuation: TokenizerDefinition
  /** The tokens that the tokenizer finds before anything else. */
  added: readonly AddedToken[]
  beginning: BeginningToken
}

/**
 * Renders a conversation and returns its tokens and their mask, 1 for each token that the model has to generate.
 * @throws InputError `template-failed`, `tokenizer-failed`, `unmaskable-template`, `double-bos`, `no-end-of-turn`, and whatever
 * rendering throws
 * @throws RunError `no-process`
 */
export async function askForAnswers(
  template: TemplateDefinition,
  { tokenizer, continuation, added, beginning }: ChatTokenizer,
  conversation: Conversation,
  signal?: AbortSignal,
): Promise<MaskedChat> {
  const shared: Shared[] = [
    { id: idOf(template), template },
    { id: idOf(added), tokens: added },
    { id: idOf(tokenizer), tokenizer },
    { id: idOf(continuation), tokenizer: continuation },
  ]
  const request: Request = {
    asks: 'chat',
    ...conversation,
    template: idOf(template),
    tokenizer: idOf(tokenizer),
    continuation: idOf(continuation),
    tokens: idOf(added),
    beginning,
    voice: currentVoice(),
  }
  const origins = { template: template.origin, tokenizer: tokenizer.origin }
  const {
    ids,
    trained,
    turns,
    counts = noCounts(),
  } = (await ask({ shared, request, origins, signal })) as ChatValue & {
    ids: Int32Array
  }
  const spans: Span[] = []
  for (let i = 0; i < trained.length; i += 2) spans.push({ start: trained[i]!, end: trained[i + 1]! })
  return { ids, mask: maskOf(ids.length, spans), turns, ...counts }
}

/**
 * Sends a request to the process and returns its answer.
 * @param tokenizer pass the same object for the same tokenizer, since it is sent once
 * @throws InputError `tokenizer-failed` if the tokenizer takes too much time or memory or ends its process
 * @throws InputError `malformed-tokenizer`
 * @throws UsageError `no-tokenizer-library`
 */
export async function askTokenizer(
  tokenizer: TokenizerDefinition,
  task: TokenizerTask,
  signal?: AbortSignal,
): Promise<unknown> {
  const shared: Shared[] = [{ id: idOf(tokenizer), tokenizer }]
  const request = { ...task, tokenizer: idOf(tokenizer) }
  try {
    return await ask({ shared, request, origins: { tokenizer: tokenizer.origin }, signal })
  } catch (error) {
    if (!(error instanceof RunError && error.code === 'no-process')) throw error
    return (await engineHere(tokenizer)).answer(task)
  }
}

const enginesHere = new WeakMap<TokenizerDefinition, Promise<TokenizerEngine>>()

/** Loads the tokenizer in this process, for when no other can be started, as in Deno without --allow-run. */
function engineHere(tokenizer: TokenizerDefinition): Promise<TokenizerEngine> {
  const engine = enginesHere.get(tokenizer) ?? TokenizerEngine.load(tokenizer)
  enginesHere.set(tokenizer, engine)
  return engine
}

function ask(question: Pick<Waiting, 'shared' | 'request' | 'origins' | 'signal'>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    question.signal?.throwIfAborted()
    const size = sizeOf(question.request)
    const lane = size > LARGE ? large : small
    lane.ask({ ...question, size, attempts: 0, resolve, reject })
  })
}

/** Size above which a request goes to the process for large requests, so that small ones need not wait for it [characters]. */
const LARGE = 2 ** 18
const small = new ProcessLane()
const large = new ProcessLane()
