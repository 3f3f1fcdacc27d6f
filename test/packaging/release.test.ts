/** The workflow that publishes a release runs scripts of the repository, and images are those of docker/. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { root } from './project.js'

const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8')
const Step = z.object({ run: z.string().optional(), uses: z.string().optional() })
const Job = z.object({
  needs: z.string().optional(),
  permissions: z.record(z.string(), z.string()).optional(),
  steps: z.array(Step),
})
const { jobs } = z
  .object({ on: z.object({ push: z.object({ tags: z.array(z.string()) }) }), jobs: z.record(z.string(), Job) })
  .parse(parse(read('.github', 'workflows', 'release.yml')))
const { scripts } = z.object({ scripts: z.record(z.string(), z.string()) }).parse(JSON.parse(read('package.json')))
/** Parts of `npm run build`, `check` and `pack`. */
const groups = read('scripts', 'run.mjs')

/** Why a step of the workflow would not run; null if it would. */
function unknown(run: string): string | null {
  const [program, verb, script = '', part = ''] = run.split(' ')
  if (program === 'apt-get') return null
  if (program === 'bash' || program === 'node') return existsSync(join(root, verb!)) ? null : `no file ${verb}`
  if (program !== 'npm') return `not a script: ${run}`
  if (verb === 'ci') return null
  const name = verb === 'run' ? script : verb!
  if (!Object.hasOwn(scripts, name)) return `no script ${name}`
  const isPart = verb === 'run' && part !== '' && part !== '--'
  return !isPart || new RegExp(`^    '?${part}'?: \\[`, 'm').test(groups) ? null : `no part ${part} of ${name}`
}

it('each step of the release is a script that exists', () => {
  const steps = Object.values(jobs).flatMap((job) => job.steps)
  const runs = steps.flatMap(({ run }) => run ?? [])
  expect(runs.length).toBeGreaterThan(8)
  expect(runs.map(unknown).filter((why) => why !== null)).toEqual([])
  expect([unknown('npm run nothing'), unknown('npm run check nothing'), unknown('curl x')]).not.toContain(null)
})

it('what is published was tested, carries the version of its tag, and has provenance', () => {
  expect(jobs.publish).toMatchObject({ needs: 'packages', permissions: { 'id-token': 'write' } })
  expect(jobs.packages!.steps).toContainEqual({ run: 'npm test' })
  expect(jobs.publish!.steps.at(-1)!.run).toContain('--tag "$GITHUB_REF_NAME" --provenance')
})

it.each(readdirSync(join(root, 'docker')))('%s has a user without privileges, a volume and a health check', (name) => {
  const lines = read('docker', name)
  for (const instruction of ['USER node', 'VOLUME /models', 'HEALTHCHECK ', 'ENTRYPOINT ["mora"]'])
    expect(lines).toContain(`\n${instruction}`)
  expect(read('docs', 'install.md')).toContain(`docker/${name}`)
})
