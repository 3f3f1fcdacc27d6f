import { basename, isAbsolute } from 'node:path'

/** Returns a path as it may be published: an absolute path is reduced to its last part, since folders are private. */
export const sharedName = (path: string): string => (isAbsolute(path) ? basename(path) : path)
