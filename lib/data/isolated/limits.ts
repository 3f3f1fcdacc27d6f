/** How long a template may take for a conversation [s]: to find answers, it is rendered once up to each of them. */
export const mostSeconds = (messages: number): number => 2 + Math.ceil(messages / 100)
/** How much memory JavaScript may take in a render process [MiB]. */
export const MEBIBYTES = 256
