/** The folder and the version of this package. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's folder: the parent of `lib` and `dist`, in which this file is two levels deep. */
export const packageFolder = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The version of this package. */
export function packageVersion(): string {
  const text = readFileSync(join(packageFolder, 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
