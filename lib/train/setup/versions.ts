import { packageVersion } from '../../package-facts.js'

/** Versions of this package and of what runs it. */
export function versions(): Record<string, string> {
  return { 'node-mora': packageVersion(), node: process.versions.node, platform: `${process.platform}-${process.arch}` }
}
