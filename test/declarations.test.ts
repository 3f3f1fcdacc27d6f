/** The library's declarations as a stranger's compiler reads them: whole, strict, and with declarations checked too. */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { useTemporaryFolder } from './io/temporary.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = useTemporaryFolder()

it.each(['nodenext', 'bundler'])('dist/index.d.ts compiles under %s', async (moduleResolution) => {
  const compilerOptions = {
    ...{ moduleResolution, module: moduleResolution === 'nodenext' ? 'nodenext' : 'esnext', target: 'es2022' },
    ...{ lib: ['es2022', 'esnext.disposable'], strict: true, skipLibCheck: false, noEmit: true },
    ...{ types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] },
  }
  writeFileSync(join(folder(), 'package.json'), '{ "type": "module" }')
  writeFileSync(join(folder(), 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }))
  const use = `import { type TrainInput, loadModel, mora, train } from ${JSON.stringify(join(root, 'dist', 'index.js'))}
const options: TrainInput = { data: 'rows.jsonl', dtype: 'float32' }
// @ts-expect-error: no such dtype
const wrong: TrainInput = { data: 'rows.jsonl', dtype: 'float8' }
export const run = async () => [train(await loadModel('model'), options), mora({ rank: 8 }), wrong]
`
  writeFileSync(join(folder(), 'use.ts'), use)
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = promisify(execFile)(process.execPath, [compiler, '-p', folder()])
  const said = await compiled.then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  )
  expect(said).toBe('')
})
