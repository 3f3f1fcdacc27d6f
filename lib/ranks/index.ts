/** Connects the processes that train together. */
export { type ConnectOptions, connectRanks } from './connect-ranks.js'
export type { RanksLibrary } from './installed.js'
export type { JobRanks } from './job-ranks.js'
