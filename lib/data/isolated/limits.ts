/** How long a template may take for a conversation [s]: to find answers, it is rendered once up to each of them. */
export const templateSeconds = (messages: number): number => 2 + Math.ceil(messages / 100)
/** How much memory JavaScript may take in an isolated process [MiB]. */
export const MEBIBYTES = 256

/** How long loading a tokenizer may take [s]. Ordinary ones take a tenth of a second for a million characters. */
export const loadSeconds = (characters: number): number => 3 + Math.ceil(characters / 500_000)
/** How long encoding a text may take [s]. Ordinary texts take a second for a million characters. */
export const encodeSeconds = (characters: number): number => 3 + Math.ceil(characters / 50_000)
/** How much memory a tokenizer may take beside what the process had before [MiB]. */
export const tokenizerMebibytes = (characters: number): number => 512 + Math.ceil(characters / 1024)
