/** Requests to the server that the page came from. */
import { eventsIn } from './events.js'

/** @typedef {{ token: string, logprob: number, top_logprobs: { token: string, logprob: number }[] }} Token */
/** @typedef {{ index?: number, id: string, type: string, function: { name: string, arguments: string } }} Call */
/** @typedef {{ role: string, content: string | null, tool_calls?: Call[], tool_call_id?: string }} Message */
/**
 * A request for the next message of a conversation, or for a text that continues a prompt.
 * @typedef {{ model: string, messages?: Message[], prompt?: string, [parameter: string]: unknown }} TextRequest
 */
/** @typedef {{ content?: string, reasoning_content?: string, tool_calls?: (Partial<Call> & { index: number })[] }} Delta */
/**
 * @typedef {object} Chunk
 * @property {{ delta: Delta, logprobs?: { content: Token[] } | null, finish_reason: string | null }[]} choices
 * @property {{ completion_tokens: number } | null} [usage]
 */

/** Where the routes are: the page's own path may lack the slash at its end. */
export const API = new URL(`${location.pathname.replace(/\/?$/, '/')}v1`, location.origin).href

/** The API key, in memory alone. */
let key = ''

/** @param {string} given */
export function useKey(given) {
  key = given
}

export const hasKey = () => key !== ''

/** A refusal of the server. */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** @returns {Promise<string[]>} names of the models, the base first */
export async function listModels() {
  const response = await ask('models', {})
  const { data } = await response.json()
  return data.map((/** @type {{ id: string }} */ { id }) => id)
}

/** Returns the route of a request. @param {TextRequest} request */
export const routeOf = ({ messages }) => (messages ? 'chat/completions' : 'completions')

/**
 * Yields the pieces of an answer.
 * @param {TextRequest} request
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Chunk>}
 */
export async function* streamAnswer(request, signal) {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } })
  const headers = { 'content-type': 'application/json' }
  const response = await ask(routeOf(request), { method: 'POST', headers, body, signal })
  for await (const event of eventsIn(piecesOf(response))) {
    if (event.error) throw new Refusal(response.status, event.error.message)
    yield request.messages ? event : { ...event, choices: event.choices.map(asChatChoice) }
  }
}

/**
 * Returns a piece of a continued prompt in the form of a chat's.
 * @param {{ text: string, finish_reason: string | null, logprobs: null | { tokens: string[], token_logprobs: number[], top_logprobs: Record<string, number>[] } }} choice
 * @returns {Chunk['choices'][number]}
 */
function asChatChoice({ text, finish_reason, logprobs }) {
  const content = (logprobs?.tokens ?? []).map((token, i) => {
    const top = Object.entries(logprobs?.top_logprobs[i] ?? {}).map(([token, logprob]) => ({ token, logprob }))
    return { token, logprob: logprobs?.token_logprobs[i] ?? 0, top_logprobs: top }
  })
  return { delta: { content: text }, logprobs: { content }, finish_reason }
}

/**
 * @param {string} path
 * @param {RequestInit} init
 */
async function ask(path, init) {
  const headers = new Headers(init.headers)
  if (hasKey()) headers.set('authorization', `Bearer ${key}`)
  const response = await fetch(`${API}/${path}`, { ...init, headers, cache: 'no-store', credentials: 'omit' })
  if (response.ok) return response
  const answer = await response.json().catch(() => null)
  throw new Refusal(response.status, answer?.error?.message ?? `The server answered ${response.status}.`)
}

/**
 * Yields the bytes of a response: not every browser's streams are iterable.
 * @param {Response} response
 */
async function* piecesOf({ body }) {
  const reader = body?.getReader()
  for (;;) {
    const { done = true, value } = (await reader?.read()) ?? {}
    if (value) yield value
    if (done) return
  }
}
