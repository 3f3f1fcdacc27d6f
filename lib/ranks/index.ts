/** Many processes that train together: what connects them. */
export { type ConnectOptions, connectRanks } from './connect-ranks.js'
export type { JobRanks } from './connected-ranks.js'
export type { RanksLibrary } from './libraries.js'
