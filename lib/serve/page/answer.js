/** An answer as it is written: its texts, its calls, how it ended, its tokens and the code that repeats its request. */
import { codeToCopy } from '../../dashboard/page/code.js'
import { element, setText } from '../../dashboard/page/elements.js'
import { formatCount, formatDuration } from '../../dashboard/page/format.js'
import { API, hasKey, routeOf } from './api.js'
import { asCurl, asNode } from './as-code.js'
import { tokenTable } from './tokens.js'

/** @typedef {import('./api.js').Call} Call */
/** @typedef {import('./api.js').Message} Message */

const ENDS = new Map([
  ['length', 'cut at the maximum number of tokens'],
  ['stop', 'complete'],
  ['tool_calls', 'calls tools'],
])

export class Answer {
  /** The model's message so far. @type {Message} */
  message = { role: 'assistant', content: '' }
  /** @type {import('./api.js').Token[]} */
  #tokens = []
  #count = 0
  #finish = ''
  #start = performance.now()

  #reasoning = element('p', { class: 'text', dir: 'auto' })
  #thoughts = element('details', { hidden: true }, element('summary', {}, 'Reasoning'), this.#reasoning)
  #text = element('p', { class: 'text', dir: 'auto' })
  #calls = element('ul', { class: 'calls' })
  #state = element('p', { class: 'note' }, 'waiting…')
  #more = element('div')

  /**
   * @param {import('./api.js').TextRequest} request
   * @param {string} name that no other answer has
   * @param {(results: Message[]) => boolean} onResults takes the results of its calls; false if it cannot yet
   */
  constructor(request, name, onResults) {
    this.request = request
    this.name = name
    this.onResults = onResults
    const parts = [this.#thoughts, this.#text, this.#calls, this.#state, this.#more]
    this.root = element(
      'article',
      { class: 'card answer', 'aria-label': this.name },
      element('h3', {}, request.model),
      ...parts,
    )
    this.root.setAttribute('aria-busy', 'true')
  }

  /** Whether it says or calls anything. */
  get isEmpty() {
    return this.message.content === '' && !this.message.tool_calls
  }

  /**
   * @param {import('./api.js').Chunk} chunk
   * @returns {string} the text that it adds
   */
  add({ choices: [choice], usage }) {
    if (usage) this.#count = usage.completion_tokens
    if (!choice) return ''
    const { content = '', reasoning_content: thought = '', tool_calls: calls = [] } = choice.delta
    this.message.content += content
    this.#text.append(content)
    this.#reasoning.append(thought)
    if (thought !== '') this.#thoughts.hidden = false
    for (const call of calls) this.#addCall(call)
    this.#tokens.push(...(choice.logprobs?.content ?? []))
    this.#finish = choice.finish_reason ?? this.#finish
    setText(this.#state, 'writing…')
    return content
  }

  /** @param {Partial<Call> & { index: number }} part */
  #addCall({ index, id = '', function: { name = '', arguments: text = '' } = { name: '', arguments: '' } }) {
    this.message.tool_calls ??= []
    const calls = this.message.tool_calls
    calls[index] ??= { id, type: 'function', function: { name, arguments: '' } }
    calls[index].function.arguments += text
    const shown = calls.map((one) =>
      element('li', {}, element('code', {}, `${one.function.name}(${one.function.arguments})`)),
    )
    this.#calls.replaceChildren(...shown)
  }

  /** @param {string} how it ended: empty for as the server says */
  end(how = '') {
    const seconds = (performance.now() - this.#start) / 1000
    const tokens = this.#count > 0 ? [`${formatCount(this.#count)} tokens`, formatDuration(seconds)] : []
    setText(this.#state, [...tokens, how || (ENDS.get(this.#finish) ?? this.#finish)].filter(Boolean).join(' · '))
    this.root.removeAttribute('aria-busy')
    this.#text.normalize()
    // A call that was cut has no result.
    if (how !== '') delete this.message.tool_calls
    if (this.message.tool_calls) this.#addResults(this.message.tool_calls)
    this.#addMore()
  }

  /** @param {string} problem */
  fail(problem) {
    this.end('failed')
    this.#more.prepend(element('p', { class: 'problem' }, problem))
  }

  /** Adds a form for the results of calls. @param {readonly Call[]} calls */
  #addResults(calls) {
    const fields = calls.map(({ function: { name } }) => {
      const field = element('textarea', { rows: 2, spellcheck: false })
      return { field, label: element('label', { class: 'field' }, `Result of ${name} `, field) }
    })
    const button = element('button', { type: 'submit', class: 'button' }, 'Send results')
    const form = element('form', { class: 'results' }, ...fields.map(({ label }) => label), button)
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      const results = calls.map(({ id }, i) => ({
        role: 'tool',
        tool_call_id: id,
        content: fields[i]?.field.value ?? '',
      }))
      if (this.onResults(results)) form.remove()
    })
    this.#more.append(form)
  }

  #addMore() {
    const { request, name } = this
    if (this.#tokens.length > 0) this.#more.append(onDemand('Tokens', name, () => [tokenTable(this.#tokens, name)]))
    this.#more.append(
      onDemand('As code', name, () => [
        ...codeToCopy(asCurl(`${API}/${routeOf(request)}`, request, hasKey()), 'Copy as curl', `curl for ${name}`),
        ...codeToCopy(asNode(API, request, hasKey()), 'Copy for Node.js', `Program for ${name}`),
      ]),
    )
  }
}

/**
 * Returns details whose content is made when they are opened.
 * @param {string} title
 * @param {string} name of the answer
 * @param {() => Node[]} content
 */
function onDemand(title, name, content) {
  const summary = element('summary', {}, title, element('span', { class: 'unseen' }, ` of ${name}`))
  const details = element('details', {}, summary)
  details.addEventListener('toggle', () => details.append(...content()), { once: true })
  return details
}
