import { isAbsolute, normalize, resolve, sep } from 'node:path'

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
