/** Many processes that train together: what connects them. */
export { type ConnectOptions, connectRanks } from './connect-ranks.js'
export type { JobRanks } from './connected-ranks.js'
export { deviceOfRank } from './device-of-rank.js'
export type { RanksLibrary } from './libraries.js'
