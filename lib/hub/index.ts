/** Models and data sets of the Hugging Face hub: ids, the cache, and resumable, verified downloads. */
export type { Wanted } from './chosen-files.js'
export { formatHubId, type HubId, isCommit, mayMean, parseHubId, REPOSITORY, REVISION } from './id.js'
export { type HubOrigin, hubIdOf, type Located, locate } from './locate.js'
export { capital, nameOf, type Subject } from './refusals.js'
export type { Pacing } from './retry.js'
export { sendingFetch } from './sending.js'
export { type HubSettings, hubSettings } from './settings.js'
export { type DownloadProgress, type HubOptions, hubKinds, Snapshot, type SnapshotOptions } from './snapshot.js'
