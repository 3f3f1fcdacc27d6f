import { resolve, sep } from 'node:path'

/** Whether a path is a folder's own or one inside it. */
export function isWithin(path: string, folder: string): boolean {
  return `${resolve(path)}${sep}`.startsWith(`${resolve(folder)}${sep}`)
}
