/** The page: sends a message to the chosen models, and shows their answers side by side. */
import { byId, element, setText } from '../../dashboard/page/elements.js'
import { startTheme } from '../../dashboard/page/theme.js'
import { Announcer } from './announcer.js'
import { Answer } from './answer.js'
import { API, listModels, Refusal, streamAnswer, useKey } from './api.js'
import { chosenModels, readSettings, showModels } from './settings.js'

/** @typedef {import('./api.js').Message} Message */

/** Maximum number of lines of the log that screen readers read. */
const MOST_TOLD = 50
/** Distance [px] from the end of the page within which it follows what is written. */
const NEAR = 80

const turns = byId('turns', HTMLElement)
const message = byId('message', HTMLTextAreaElement)
const stop = byId('stop', HTMLButtonElement)
const send = byId('send', HTMLButtonElement)
const problem = byId('problem', HTMLElement)
const keyForm = byId('key-form', HTMLFormElement)
const key = byId('key', HTMLInputElement)

/** The conversation of each model, without the system prompt. @type {Map<string, Message[]>} */
const histories = new Map()
/** Ends the answers that are being written; null if there are none. @type {AbortController | null} */
let running = null
let count = 0

startTheme(() => {})
setText(byId('place', HTMLElement), API)
byId('composer', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  void sendMessage()
})
byId('settings', HTMLFormElement).addEventListener('submit', (event) => event.preventDefault())
message.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  void sendMessage()
})
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort()
})
stop.addEventListener('click', () => running?.abort())
byId('fresh', HTMLButtonElement).addEventListener('click', () => {
  running?.abort()
  histories.clear()
  turns.replaceChildren()
  count = 0
  message.focus()
})
keyForm.addEventListener('submit', (event) => {
  event.preventDefault()
  useKey(key.value)
  void start()
})
// Adapters come and go while the server runs.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && keyForm.hidden) void start(false)
})
await start()

/** Asks for the models. */
async function start(takesFocus = true) {
  try {
    showModels(await listModels())
    problem.hidden = true
    keyForm.hidden = true
    setText(byId('key-problem', HTMLElement), '')
    key.value = ''
    if (takesFocus) message.focus()
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) askForKey(error.message)
    else showProblem(error)
  }
}

/** @param {string} why */
function askForKey(why) {
  keyForm.hidden = false
  setText(
    byId('key-problem', HTMLElement),
    key.value === '' ? 'This server needs an API key. It stays in this page.' : why,
  )
  key.select()
}

/** @param {unknown} error */
function showProblem(error) {
  problem.hidden = false
  setText(problem, sentenceOf(error))
}

/** @param {unknown} error */
function sentenceOf(error) {
  // The browser's own word for a server that does not answer is no sentence.
  if (error instanceof TypeError) return `The server at ${API} does not answer.`
  return error instanceof Error ? error.message : String(error)
}

async function sendMessage() {
  const prompt = message.value
  const settings = running || prompt.trim() === '' ? null : readSettings()
  if (!settings) return
  message.value = ''
  const title = `Turn ${++count}`
  const place = element('div', { class: 'columns' })
  const words = element('p', { class: 'prompt', dir: 'auto' }, prompt)
  turns.append(
    element('section', { class: 'turn', 'aria-label': title }, element('h2', { class: 'unseen' }, title), words, place),
  )
  const isAnswered = await answerAll(chosenModels(), settings, [{ role: 'user', content: prompt }], place)
  if (!isAnswered && message.value === '') message.value = prompt
}

/**
 * Lets models answer, all at once. Returns whether one of them says anything.
 * @param {readonly string[]} models
 * @param {import('./settings.js').Settings} settings
 * @param {readonly Message[]} added to what each model has read
 * @param {Element} place
 */
async function answerAll(models, { system, raw, parameters }, added, place) {
  const { signal } = begin()
  tell(models.length === 1 ? 'Waiting for the answer.' : `Waiting for ${models.length} answers.`)
  const answers = await Promise.all(
    models.map(async (model) => {
      const conversation = [...(histories.get(model) ?? []), ...added]
      const messages = [...(system.trim() === '' ? [] : [{ role: 'system', content: system }]), ...conversation]
      const text = raw ? { prompt: added[0]?.content ?? '' } : { messages }
      const name = `${model}, answer ${turns.querySelectorAll('.answer').length + 1}`
      const answer = new Answer({ model, ...text, ...parameters }, name, (results) => {
        const now = running ? null : readSettings()
        if (now) void answerAll([model], now, results, place)
        return now !== null
      })
      follow(() => place.append(answer.root))
      await write(answer, signal, models.length > 1 ? `${model}: ` : '')
      // After "New conversation" the answer belongs to none.
      if (!raw && !answer.isEmpty && answer.root.isConnected) histories.set(model, [...conversation, answer.message])
      return answer
    }),
  )
  end(signal)
  return answers.some(({ isEmpty }) => !isEmpty)
}

function begin() {
  running = new AbortController()
  stop.hidden = false
  send.setAttribute('aria-disabled', 'true')
  return running
}

/** @param {AbortSignal} signal of the answers that have ended */
function end(signal) {
  if (running?.signal !== signal) return
  running = null
  if (document.activeElement === stop) message.focus()
  stop.hidden = true
  send.removeAttribute('aria-disabled')
}

/**
 * @param {Answer} answer
 * @param {AbortSignal} signal
 * @param {string} name before what is told
 */
async function write(answer, signal, name) {
  const announcer = new Announcer((text) => tell(name + text))
  try {
    for await (const chunk of streamAnswer(answer.request, signal)) follow(() => announcer.push(answer.add(chunk)))
    follow(() => answer.end())
    announcer.end()
  } catch (error) {
    announcer.end()
    if (signal.aborted) {
      answer.end('stopped')
      tell(`${name}stopped`)
      return
    }
    follow(() => answer.fail(sentenceOf(error)))
    tell(name + sentenceOf(error))
    if (error instanceof Refusal && error.status === 401) askForKey(error.message)
  }
}

/**
 * Changes the page, and stays at its end if it was there.
 * @param {() => void} change
 */
function follow(change) {
  const page = document.documentElement
  const isAtEnd = page.scrollHeight - page.clientHeight - page.scrollTop < NEAR
  change()
  if (isAtEnd) page.scrollTop = page.scrollHeight
}

/** @param {string} text for screen readers */
function tell(text) {
  const log = byId('log', HTMLElement)
  log.append(element('p', {}, text))
  while (log.childElementCount > MOST_TOLD) log.firstElementChild?.remove()
}
