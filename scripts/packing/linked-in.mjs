/** The libraries that the build has linked into an addon (linked-in.json, which CMake writes), and their licences. */
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** `{name, version, licence, texts}` for each; `texts` is a folder. */
export function linkedInto(addon) {
  const list = join(dirname(addon), 'linked-in.json')
  return existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : []
}

/** A line of Markdown for each library. */
export function describeLinked(libraries) {
  return libraries.map(({ name, version, licence }) => `- ${name} ${version}, ${licence}`).join('\n')
}

/** Copies the texts into `folder`/licences. */
export function writeLinkedLicences(libraries, folder) {
  const target = join(folder, 'licences')
  mkdirSync(target, { recursive: true })
  for (const { name, texts } of libraries) cpSync(texts, join(target, name), { recursive: true })
}
