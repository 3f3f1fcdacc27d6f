/** The platform package for arm64: packed, installed in a project beside node-mora, and used there on an older system. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addon, inRoot, node, run } from './machine.mjs'

const scope = join('node_modules', '@node-mora', 'linux-arm64')

/** Two steps of training with MoRA; prints their losses, and the libraries that the process has loaded. */
const training = `import { readFileSync } from 'node:fs'
import { loadModel, mora, train } from 'node-mora'
const losses = []
const model = await loadModel(${JSON.stringify(inRoot('assets', 'demo-model'))}, { device: 'cpu', dtype: 'float32' })
model.addAdapter('facts', mora({ rank: 2 }))
const data = ${JSON.stringify(inRoot('examples', 'facts.jsonl'))}
const run = train(model, { data, maxSteps: 2, output: 'out', overwrite: true, quiet: true })
for await (const event of run) if (event.type === 'step') losses.push(event.loss)
const libraries = [...new Set(readFileSync('/proc/self/maps', 'utf8').match(/\\/\\S*(mora\\.node|lib(dnnl|hwy|gomp))\\S*/g))]
console.log(JSON.stringify({ losses, libraries, architecture: process.arch }))
`

export function packageWorks() {
  const packages = inRoot('build-arm64', 'packages')
  rmSync(packages, { recursive: true, force: true })
  const script = inRoot('scripts', 'pack.mjs')
  run(process.execPath, [script, '--only', 'linux-arm64', '--into', packages], { MORA_BINARY: addon })
  const tarballs = readdirSync(packages).filter((name) => name.endsWith('.tgz'))

  const project = mkdtempSync(join(tmpdir(), 'mora-arm64-'))
  try {
    writeFileSync(join(project, 'package.json'), '{ "private": true }')
    writeFileSync(join(project, 'train.mjs'), training)
    // npm runs on this machine's own architecture, which the package does not support.
    const quietly = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    const install = ['install', '--force', ...quietly]
    run('npm', [...install, ...tarballs.map((name) => join(packages, name))], {}, project)
    const said = run(node, [join(project, 'train.mjs')], {}, project)
    const { losses, libraries, architecture } = JSON.parse(said)
    const elsewhere = libraries.filter((path) => !path.startsWith(`${join(project, scope)}/`))
    const isWell =
      architecture === 'arm64' && losses.length === 2 && losses.every(Number.isFinite) && libraries.length > 0
    if (!isWell || elsewhere.length > 0)
      throw new Error(`expected two losses and only the package's libraries: ${said}`)
    return `${tarballs.join(', ')}; on Debian 12 losses ${losses.map((loss) => loss.toFixed(4)).join(', ')}`
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}
