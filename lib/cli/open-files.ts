import { closeSync, openSync } from 'node:fs'

/** Returns the message for a process that may not open as many files as it needs; undefined for any other error. */
export function tooManyOpenFiles(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown }
  if (code !== 'EMFILE' && code !== 'ENFILE') return undefined
  const limited = code === 'EMFILE' ? 'this process may' : 'this machine can'
  return `More open files are needed than ${limited} have: raise the limit, for example with "ulimit -n 1024".`
}

/** Upper estimate of the number of files that the imports of a command open at the same time. */
const FILES_OF_IMPORTS = 256

/**
 * Returns the error of an open that failed while modules were imported: Node.js says of a package whose package.json it could
 * not open that there is no such package.
 */
export function causeOfImportError(error: unknown): unknown {
  if ((error as { code?: unknown } | undefined)?.code !== 'ERR_MODULE_NOT_FOUND') return error
  const opened: number[] = []
  try {
    while (opened.length < FILES_OF_IMPORTS) opened.push(openSync(process.execPath, 'r'))
    return error
  } catch (cause) {
    return cause
  } finally {
    for (const file of opened) closeSync(file)
  }
}
