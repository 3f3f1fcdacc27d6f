/** A process that may open few files, or has little address space. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksLinux, needing } from '../needs.js'
import { main, trainInto } from './command.js'

const at = useTemporaryFolder()

/** Runs `mora` with a limit. */
function limited(limit: string, argv: readonly string[]) {
  const script = `ulimit ${limit} && exec "$@"`
  return spawnSync('bash', ['-c', script, 'bash', process.execPath, main, ...argv], { encoding: 'utf8' })
}

const training = () => trainInto(join(at(), 'out'), '--quiet', '--max-steps', '1')

needing(lacksBuild).describe('with so many files that may be open', () => {
  it.each([24, 32, 40, 64, 96, 128, 192])('%d: a run succeeds, or ends with one sentence', (count) => {
    const { status, stderr, stdout } = limited(`-n ${count}`, training())
    if (status === 0) return
    expect(status).toBe(1)
    expect(stderr).toMatch(/^mora: [^\n]+\n$/)
    expect(stdout).toBe('')
    if (count <= 40) expect(stderr).toContain('raise the limit, for example with "ulimit -n 1024"')
  })
})

// With fewer, Node.js itself ends.
needing(lacksBuild, lacksLinux).it.each([1_400_000, 1_600_000, 1_800_000])(
  'with %d KiB of addresses a run is refused with one sentence',
  (kibibytes) => {
    const { status, stderr } = limited(`-v ${kibibytes}`, training())
    expect(stderr).toMatch(/^mora: [^\n]+\n$/)
    expect([1, 2]).toContain(status)
  },
)
