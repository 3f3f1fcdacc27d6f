import { isAbsolute, normalize, resolve, sep } from 'node:path'

/** Whether a path is a folder's own or one inside it. */
export function isWithin(path: string, folder: string): boolean {
  return `${resolve(path)}${sep}`.startsWith(`${resolve(folder)}${sep}`)
}

/** Whether a relative path that came from elsewhere names something inside the folder that it is put under. */
export function staysInside(path: string): boolean {
  return (
    path !== '' &&
    !isAbsolute(path) &&
    !path.includes('\\') &&
    !path.includes('\0') &&
    !/^\.\.?(\/|$)/.test(normalize(path))
  )
}
