/** Names of options, which each door (the library, the command line, HTTP) spells in its own way, in messages too. */
import { AsyncLocalStorage } from 'node:async_hooks'

/** The reader of a message: a program (`learningRate`), a command line (`--learning-rate`), or a client (`learning_rate`). */
export type Voice = 'library' | 'flags' | 'fields'

const voices = new AsyncLocalStorage<Voice>()
let ofProcess: Voice = 'library'

/** Sets the voice of this process: a command's own needs no store, which would cost every promise some time. */
export function speakAs(voice: Voice): void {
  ofProcess = voice
}

/** Runs work whose messages name options in a voice; without one, they speak as the process does, by default to programs. */
export const speaking = <T>(voice: Voice, work: () => T): T =>
  voice === currentVoice() ? work() : voices.run(voice, work)

export const currentVoice = (): Voice => voices.getStore() ?? ofProcess

/** `learningRate` → `learning-rate`, `topNSigma` → `top-n-sigma`. */
export function kebabCase(name: string): string {
  return name.replace(/(?<=[a-zA-Z])[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** `learning-rate` → `learningRate`. */
export function camelCase(name: string): string {
  return name.replace(/-+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** `learningRate` → `--learning-rate`. */
export const flagOf = (key: string): string => `--${kebabCase(key)}`

/** OpenAI's and vLLM's names for options whose name is not the option's in snake case. */
const FIELDS: Readonly<Record<string, string>> = {
  maxNewTokens: 'max_tokens',
  minNewTokens: 'min_tokens',
  noRepeatNgram: 'no_repeat_ngram_size',
  stopTokens: 'stop_token_ids',
  allowedTokens: 'allowed_token_ids',
  includeStop: 'include_stop_str_in_output',
}

/** Options of a server that its requests do not have: clients read the spelling of whoever starts it. */
const OF_SERVERS: ReadonlySet<string> = new Set(['allowLoading', 'allowOtherBase', 'offline', 'template'])

/** `learningRate` → `learning_rate`. */
export const fieldOf = (key: string): string => FIELDS[key] ?? kebabCase(key).replaceAll('-', '_')

/** Returns an option's name, and its value if one is given: `columns: { prompt: 'query' }` or `--columns prompt=query`. */
export function optionName(key: string, value?: unknown): string {
  const voice = currentVoice()
  if (voice === 'flags') return withFlagValue(key, value)
  if (voice === 'fields' && OF_SERVERS.has(key))
    return `the server's ${voices.run(ofProcess, () => inProse('option', key, value))}`
  const name = voice === 'fields' ? fieldOf(key) : key
  return value === undefined ? name : `${name}: ${typeof value === 'string' ? value : literal(value)}`
}

/** Like `optionName`; for programs with "the option" before the name, which may be a word of English. */
export const theOption = (key: string, value?: unknown): string => inProse('the option', key, value)

/** Begins a sentence. */
export const TheOption = (key: string, value?: unknown): string => inProse('The option', key, value)

const inProse = (noun: string, key: string, value: unknown): string =>
  `${currentVoice() === 'library' ? `${noun} ` : ''}${optionName(key, value)}`

/** Writes a value as a program would: `{ prompt: 'query' }`, `['data']`. */
function literal(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  const entries = Object.entries(value).map(([key, entry]) => `${key}: ${literal(entry)}`)
  return `{ ${entries.join(', ')} }`
}

function withFlagValue(key: string, value: unknown): string {
  if (value === false) return `--no-${kebabCase(key)}`
  if (value === undefined || value === true) return flagOf(key)
  // The one list of names of options.
  if (key === 'allowChanges') return `${flagOf(key)} ${(value as string[]).map(kebabCase).join(',')}`
  if (Array.isArray(value)) return `${flagOf(key)} ${value.join(',')}`
  if (typeof value !== 'object') return `${flagOf(key)} ${value}`
  const entries = Object.entries(value as object).map(([name, one]) => `${name}=${one}`)
  return `${flagOf(key)} ${entries.join(',')}`
}
