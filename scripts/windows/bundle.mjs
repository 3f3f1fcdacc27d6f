/** Makes of a test file a module that runs on Windows, where this machine's files are on a drive. */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { rolldown } from 'rolldown'
import { inRoot, onZ } from './wine.mjs'

const vitest = inRoot('scripts', 'windows', 'vitest.mjs')

/** Sources find the files beside them as where they lie, not beside the bundle. */
const places = {
  name: 'places',
  load: (id) => {
    if (!id.startsWith(inRoot()) || id.includes('node_modules')) return null
    const url = `file:///${encodeURI(onZ(id).replaceAll('\\', '/'))}`
    const code = readFileSync(id, 'utf8')
      .replaceAll('import.meta.url', JSON.stringify(url))
      .replaceAll('import.meta.dirname', JSON.stringify(onZ(dirname(id))))
    return { code, moduleType: id.endsWith('.ts') ? 'ts' : 'js' }
  },
}

/** Writes a test file with all that it imports from the repository. */
export async function bundleTest(file, target) {
  const bundle = await rolldown({
    input: inRoot(file),
    platform: 'node',
    transform: { target: 'node20' },
    resolve: { alias: { vitest } },
    plugins: [places],
    external: [/^@huggingface/, /^tokenizers/, /^@mlc-ai/, /^jiti/],
    logLevel: 'warn',
  })
  await bundle.write({ file: target, format: 'esm', codeSplitting: false })
}
