import { renameSync, writeFileSync } from 'node:fs'

/** Writes a result as JSON atomically: a reader always finds the last complete one, also after a kill. */
export function keep(path, result) {
  if (!path) return
  writeFileSync(`${path}.part`, JSON.stringify(result, null, 1))
  renameSync(`${path}.part`, path)
}
