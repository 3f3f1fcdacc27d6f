/** Models and data sets of the Hugging Face hub: ids, the cache, and resumable, verified downloads. */
export type { Wanted } from './chosen-files.js'
export { formatHubId, type HubId, isCommit, mayMean, parseHubId } from './id.js'
export { type HubOrigin, hubIdOf, type Located, locate } from './locate.js'
export { capital } from './refusals.js'
export { type DownloadProgress, type HubOptions, hubKinds, Snapshot, type SnapshotOptions } from './snapshot.js'
