/** Makes folders whose names survive a power cut. */
import { closeSync, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes a folder and its missing parents. Throws the system's error, which Node.js's recursive mkdir does not always do.
 */
export function makeFolders(folder: string): void {
  const path = resolve(folder)
  while (!isFolder(path)) {
    try {
      mkdirSync(path)
      sync(dirname(path))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // Another process may have been faster.
      if (code === 'EEXIST' && isFolder(path)) return
      if (code !== 'ENOENT') throw error
      makeFolders(dirname(path))
    }
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false

function sync(folder: string): void {
  const descriptor = openSync(folder, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
