import { readFileSync } from 'node:fs'

/** Versions of this package and of what runs it. */
export function versions(): Record<string, string> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return { 'node-mora': version, node: process.versions.node, platform: `${process.platform}-${process.arch}` }
}
