import { basename, isAbsolute, normalize, resolve, sep } from 'node:path'

/** Whether a path is a folder or inside it. */
export function isWithin(path: string, folder: string): boolean {
  return `${resolve(path)}${sep}`.startsWith(`${resolve(folder)}${sep}`)
}

/** Whether a foreign relative path stays inside the folder to which it is joined. */
export function staysInside(path: string): boolean {
  return (
    path !== '' &&
    !isAbsolute(path) &&
    !path.includes('\\') &&
    !path.includes('\0') &&
    !/^\.\.?(\/|$)/.test(normalize(path))
  )
}

/** Returns a path as it may be published: an absolute path is reduced to its last part, since folders are private. */
export const sharedName = (path: string): string => (isAbsolute(path) ? basename(path) : path)
