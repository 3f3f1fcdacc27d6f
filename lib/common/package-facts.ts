/** What this package says of itself. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's own folder: `lib` and `dist` both lie directly under it, and this file in a room of theirs. */
export const packageFolder = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The version of this package. */
export function packageVersion(): string {
  const text = readFileSync(join(packageFolder, 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
