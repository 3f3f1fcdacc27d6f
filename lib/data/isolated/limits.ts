/**
 * Limit of time for a template and a conversation [s]. To find answers, the conversation is rendered once up to each of them.
 */
export const templateSeconds = (messages: number): number => 2 + Math.ceil(messages / 100)
/** Limit of memory for JavaScript in an isolated process [MiB]. */
export const MEBIBYTES = 256

/** Limit of time for loading a tokenizer [s]. Ordinary ones take 0.1 s per million characters of tokenizer.json. */
export const loadSeconds = (characters: number): number => 3 + Math.ceil(characters / 500_000)
/** Limit of time for encoding a text [s]. Ordinary texts take 1 s per million characters. */
export const encodeSeconds = (characters: number): number => 3 + Math.ceil(characters / 50_000)
/** Limit of additional memory for a tokenizer [MiB], given the machine's `available` memory, which others need, too. */
export const tokenizerMebibytes = (characters: number, available: number): number =>
  Math.min(512 + Math.ceil(characters / 1024), Math.ceil(0.75 * available))

/**
 * The places of the current work in the memory that the process and its clock share: the number of works so far, the limits of
 * time [s] and process size [MiB] (0 without work), and the request that it is for (−1 if it is for several).
 */
export const place = { work: 0, seconds: 1, mebibytes: 2, request: 3 } as const

/** Returns what a process writes before its clock ends it amid the work for a request; −1 for several. */
export const lastWords = (request: number): string => `\nrequest ${request}\n`

/** Returns what a process writes before it encodes the conversation of a request by itself. */
export const encodingWords = (request: number): string => `\nencoding ${request}\n`

/** Matches both, with what they say and of which request. */
export const WORDS = /\n(request|encoding) (-?\d+)\n/g
