import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const VERSION = '3.22.1'

/**
 * Installs node-llama-cpp and llama.cpp's own build for CPUs (with `vulkan`, also the one for Vulkan devices) into a folder by
 * npm, unless it is `fetched`, and returns the path of its index.js.
 */
export function fetchLlamaCpp(folder, { vulkan = false, fetched = false } = {}) {
  const build = `@node-llama-cpp/linux-${process.arch}`
  const packages = ['node-llama-cpp', build, ...(vulkan ? [`${build}-vulkan`] : [])].map((name) => `${name}@${VERSION}`)
  if (!fetched) {
    writeFileSync(join(folder, 'package.json'), '{"private": true}')
    execFileSync('npm', ['install', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', ...packages], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  return join(folder, 'node_modules', 'node-llama-cpp', 'dist', 'index.js')
}
