/** bench/train.mjs runs to its end on the small checkpoint; without PyTorch it measures node-mora alone. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { useTemporaryFolder } from '../io/temporary.js'

const folder = useTemporaryFolder()

test('bench:train measures each method on a small model', () => {
  const file = join(folder(), 'bench.json')
  const sizes = ['--rows', '2', '--length', '24', '--rounds', '1', '--threads', '2']
  const report = execFileSync(
    process.execPath,
    ['bench/train.mjs', 'assets/demo-model', '--python', '/nonexistent/python3', '--json', file, ...sizes],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
  )
  expect(report).toContain('only node-mora is measured')
  const { own } = JSON.parse(readFileSync(file, 'utf8'))
  expect(own.map(({ dtype, sides }) => [dtype, sides.map(({ name }) => name)])).toEqual([
    ['bfloat16', ['lora r=8', 'rotation r=8', 'sharing r=8']],
    ['float32', ['rotation r=8']],
  ])
  for (const { losses, bound } of own.flatMap(({ sides }) => sides)) {
    expect(losses).toHaveLength(2)
    expect(losses[1]).toBeLessThan(losses[0])
    expect(bound.seconds).toBeGreaterThan(0)
  }
})
