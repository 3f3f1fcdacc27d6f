/**
 * Publishes the packages of build/packages ("npm run pack"): those of platforms first, then node-mora, which depends on them.
 * A version that the registry has already is left out, so that an interrupted release can be continued.
 *
 *     npm run pack publish -- [--from FOLDER] [--tag v0.1.0] [--provenance] [--dry-run]
 *
 * With --tag, packages of another version than the tag's are refused. --provenance needs GitHub's or GitLab's runners, and
 * packages with a repository (npm run pack -- --repository URL).
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { fail } from './packing/tools.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const { values: options } = orUsageError(() =>
  parseArgs({
    options: {
      from: { type: 'string', default: join(root, 'build', 'packages') },
      tag: { type: 'string' },
      provenance: { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
    },
  }),
)
const from = resolve(options.from)
const packages = readdirSync(from)
  .filter((name) => name.endsWith('.tgz'))
  .map((name) => ({ archive: join(from, name), ...described(join(from, name)) }))
  .sort((a, b) => Number(a.name === 'node-mora') - Number(b.name === 'node-mora'))

const main = packages.at(-1)
if (main?.name !== 'node-mora') fail(`Expected the archive of node-mora in ${from}; "npm run pack" makes it.`)
for (const { name, version } of packages)
  if (options.tag !== undefined && options.tag !== `v${version}`)
    fail(`Expected ${name} of the tag ${options.tag} but it is of version ${version}.`)
for (const [name, version] of Object.entries(main.optionalDependencies ?? {}))
  if (!packages.some((each) => each.name === name && each.version === version))
    fail(`Expected ${name} ${version}, on which node-mora depends, in ${from}; "npm run pack" makes both.`)

for (const { archive, name, version } of packages) {
  if (npm('view', `${name}@${version}`, 'version').stdout.trim() !== '') {
    console.log(`${name} ${version} is there already`)
    continue
  }
  const more = ['provenance', 'dry-run'].filter((option) => options[option]).map((option) => `--${option}`)
  const { status, stderr } = npm('publish', archive, '--access', 'public', ...more)
  if (status !== 0) fail(`${name} ${version} was not published:\n${stderr}`)
  console.log(`${name} ${version} ${options['dry-run'] ? 'would be' : 'is'} published`)
}

/** Returns the package.json of an archive. */
function described(archive) {
  const { stdout } = spawnSync('tar', ['-xzOf', archive, 'package/package.json'], { encoding: 'utf8' })
  return JSON.parse(stdout)
}

function npm(...parameters) {
  return spawnSync('npm', parameters, { cwd: from, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}
