/** Few files may be open at a time. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'
import { hasCommand, main, trainInto } from './command.js'

const at = useTemporaryFolder()

/** Runs `mora` where so many files may be open. */
function withOpenFiles(count: number, argv: readonly string[]) {
  const script = `ulimit -n ${count} && exec "$@"`
  return spawnSync('bash', ['-c', script, 'bash', process.execPath, main, ...argv], { encoding: 'utf8' })
}

describe.skipIf(!hasCommand)('with so many files that may be open', () => {
  it.each([24, 32, 40, 64, 96, 128, 192])('%d: a run ends well, or with one sentence', (count) => {
    const { status, stderr, stdout } = withOpenFiles(count, trainInto(join(at(), 'out'), '--quiet', '--max-steps', '1'))
    if (status === 0) return
    expect(status).toBe(1)
    expect(stderr).toMatch(/^mora: [^\n]+\n$/)
    expect(stdout).toBe('')
    if (count <= 40) expect(stderr).toContain('allow more of them, as "ulimit -n 1024" does')
  })
})
