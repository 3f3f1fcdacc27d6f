/** The example of a method as a separate package, which imports only public names: built and run outside of the repository. */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const example = join(root, 'examples', 'adapters', 'lora-xs.ts')
const folder = useTemporaryFolder()
const run = promisify(execFile)

const training = `
import { loadModel, train } from 'node-mora'
import { loraXsMethod } from 'lora-xs'

const [path, data, output, maxSteps, resume] = process.argv.slice(2)
const model = await loadModel(path, { device: 'cpu', threads: 1 })
const options = { method: loraXsMethod, rank: 4, targetModules: ['q_proj'], batchSize: 1, scheduler: 'constant' }
const { steps } = await train(model, { ...options, data, output, maxSteps: Number(maxSteps), resume: resume === 'resume' }).finished
console.log(JSON.stringify({ steps, adapter: model.adapters.get('default') }))
model.dispose()
`

const loading = `
import { registerMethod } from 'node-mora/adapters'
import { loadModel } from 'node-mora'
import { loraXsMethod } from 'lora-xs'

const [path, _, output] = process.argv.slice(2)
registerMethod(loraXsMethod)
const model = await loadModel(path, { device: 'cpu', threads: 1 })
const adapter = await model.loadAdapter(output)
const { merged } = await model.mergeAdapter('default')
console.log(JSON.stringify({ adapter, merged }))
model.dispose()
`

needing(lacksBuild).test(
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
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      strict: true,
      declaration: true,
      types: ['node'],
      typeRoots: [join(root, 'node_modules', '@types')],
    }
    writeFileSync(join(own, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['index.ts'] }))
    const compiler = join(root, 'node_modules', 'typescript-7', 'bin', 'tsc')
    const compiled = await run(process.execPath, [compiler, '-p', own]).catch((error: { stdout: string }) => error)
    expect(compiled.stdout).toBe('')

    writeFileSync(join(folder(), 'training.mjs'), training)
    writeFileSync(join(folder(), 'loading.mjs'), loading)
    writeFileSync(join(folder(), 'rows.jsonl'), `${JSON.stringify({ input_ids: [1, 2, 3, 4, 5] })}\n`)
    const inputs = [goldenPath('tiny-untied/model'), join(folder(), 'rows.jsonl'), join(folder(), 'out')]
    const said = async (script: string, ...more: string[]) => {
      const { stdout } = await run(process.execPath, [join(folder(), script), ...inputs, ...more])
      return JSON.parse(stdout.trim().split('\n').at(-1)!)
    }
    const adapter = { method: 'lora-xs', rank: 4, targetModules: ['q_proj'] }
    expect(await said('training.mjs', '2')).toMatchObject({ steps: 2, adapter })
    expect(await said('training.mjs', '3', 'resume')).toMatchObject({ steps: 3, adapter })
    expect(await said('loading.mjs')).toMatchObject({ adapter, merged: 3 })

    const required = `const { registerMethod } = require('node-mora/adapters'); console.log(typeof registerMethod)`
    writeFileSync(join(folder(), 'use.cjs'), required)
    expect((await run(process.execPath, [join(folder(), 'use.cjs')])).stdout).toBe('function\n')
  },
  240_000,
)
