import { basename, isAbsolute } from 'node:path'

/** A path as others are told of it, who have none of this machine's folders: of an absolute one the last part. */
export const sharedName = (path: string): string => (isAbsolute(path) ? basename(path) : path)
