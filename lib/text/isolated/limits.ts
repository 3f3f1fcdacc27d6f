/** Time limit for rendering a conversation [s]. To find the answers, it is rendered once up to each of them. */
export const templateSeconds = (messages: number): number => 2 + Math.ceil(messages / 100)
/** Memory limit for JavaScript in an isolated process [MiB]. */
export const MEBIBYTES = 256

/** Time limit for loading a tokenizer [s]. Ordinary ones take 0.1 s per million characters of tokenizer.json. */
export const loadSeconds = (characters: number): number => 3 + Math.ceil(characters / 500_000)
/** Time limit for encoding a text [s]. Ordinary texts take 1 s per million characters. */
export const encodeSeconds = (characters: number): number => 3 + Math.ceil(characters / 50_000)
/** Limit of additional memory for a tokenizer [MiB], given the machine's `available` memory, which other processes need too. */
export const tokenizerMebibytes = (characters: number, available: number): number =>
  Math.min(512 + Math.ceil(characters / 1024), Math.ceil(0.75 * available))

/**
 * The places of the current work in the memory that the process and its clock share: the number of works so far, the limits of
 * time [s] and process size [MiB] (0 without work), and the request that it is for (−1 if it is for several).
 */
export const place = { work: 0, seconds: 1, mebibytes: 2, request: 3 } as const

/** Signals by which a process's clock ends it: for too much time, or too much memory. */
export type Ending = 'SIGALRM' | 'SIGKILL'

/**
 * Returns the notices that a process writes before its clock ends it during the work for a request; −1 for several. Windows, which
 * has no signals, does not tell how a process ended.
 */
export const lastWords = (request: number, ending: Ending): string => `\nrequest ${request}\n\nended ${ending}\n`

/** Returns the notice that a process writes before it encodes the conversation of a request alone. */
export const encodingWords = (request: number): string => `\nencoding ${request}\n`

/** Matches notices with the number of a request: their kind, and the number. */
export const WORDS = /\n(request|encoding) (-?\d+)\n/g
/** Matches the notice of how a process ends. */
export const LAST_WORD = /\nended (SIGALRM|SIGKILL)\n/
