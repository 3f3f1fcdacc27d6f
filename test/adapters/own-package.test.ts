/** The example of a method as a package of its own, which knows node-mora by its names alone: built and run outside of here. */
import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const example = join(root, 'examples', 'adapters', 'lora-xs.ts')
const folder = useTemporaryFolder()
const run = promisify(execFile)

const use = `
import { registerMethod } from 'node-mora/adapters'
import { loadModel, train } from 'node-mora'
import { loraXs, loraXsMethod } from 'lora-xs'

registerMethod(loraXsMethod)
const [path, data, output] = process.argv.slice(2)
const model = await loadModel(path, { device: 'cpu', threads: 1 })
await model.addAdapter('a', loraXs({ rank: 4, targetModules: ['q_proj'] }))
await train(model, { data, output, maxSteps: 2, batchSize: 1 }).finished
const before = model.adapters.get('a')
model.dispose()
const again = await loadModel(path, { device: 'cpu', threads: 1 })
const read = await again.loadAdapter(output)
const { merged } = await again.mergeAdapter('default')
again.dispose()
console.log(JSON.stringify({ before, read, merged }))
`

test.skipIf(!existsSync(join(root, 'dist', '.built')))(
  'imports node-mora/adapters only, and works',
  async () => {
    const source = readFileSync(example, 'utf8')
    expect([...source.matchAll(/from '([^']+)'/g)].map(([, name]) => name)).toEqual(['node-mora/adapters'])

    const own = join(folder(), 'node_modules', 'lora-xs')
    mkdirSync(own, { recursive: true })
    symlinkSync(root, join(folder(), 'node_modules', 'node-mora'))
    copyFileSync(example, join(own, 'index.ts'))
    const manifest = { name: 'lora-xs', type: 'module', exports: './index.js', peerDependencies: { 'node-mora': '*' } }
    writeFileSync(join(own, 'package.json'), JSON.stringify(manifest))
    const compilerOptions = {
      ...{
        module: 'nodenext',
        target: 'es2022',
        lib: ['es2023', 'esnext.disposable'],
        strict: true,
        declaration: true,
      },
      ...{ types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] },
    }
    writeFileSync(join(own, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['index.ts'] }))
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const compiled = await run(process.execPath, [compiler, '-p', own]).catch((error: { stdout: string }) => error)
    expect(compiled.stdout).toBe('')

    writeFileSync(join(folder(), 'use.mjs'), use)
    writeFileSync(join(folder(), 'rows.jsonl'), `${JSON.stringify({ input_ids: [1, 2, 3, 4, 5] })}\n`)
    const argv = [join(folder(), 'use.mjs'), goldenPath('tiny-untied/model')!, join(folder(), 'rows.jsonl')]
    const { stdout } = await run(process.execPath, [...argv, join(folder(), 'out')])
    const { before, read, merged } = JSON.parse(stdout.trim().split('\n').at(-1)!)
    expect(read).toEqual(before)
    expect(read).toMatchObject({ method: 'lora-xs', rank: 4, targetModules: ['q_proj'] })
    expect(merged).toBe(3)

    const required = `const { registerMethod } = require('node-mora/adapters'); console.log(typeof registerMethod)`
    writeFileSync(join(folder(), 'use.cjs'), required)
    expect((await run(process.execPath, [join(folder(), 'use.cjs')])).stdout).toBe('function\n')
  },
  240_000,
)
