import { renameSync, writeFileSync } from 'node:fs'

/** Writes a result as JSON, whole or not at all: whoever reads it meanwhile, or after a kill, finds the last whole one. */
export function keep(path, result) {
  if (!path) return
  writeFileSync(`${path}.part`, JSON.stringify(result, null, 1))
  renameSync(`${path}.part`, path)
}
