/** The signals by which users and other programs ask a process to end; Windows has few, and others never arrive there. */
import { isWindows } from './platform.js'

/** Ctrl-C, Windows's Ctrl-Break, and termination. */
export const ENDING_SIGNALS: readonly NodeJS.Signals[] = [
  'SIGINT',
  'SIGTERM',
  ...(isWindows ? ['SIGBREAK' as const] : []),
]
