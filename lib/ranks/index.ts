/** Many processes that train together: what connects them. */
export { type ConnectOptions, connectRanks } from './connect-ranks.js'
export type { RanksLibrary } from './installed.js'
export type { JobRanks } from './job-ranks.js'
