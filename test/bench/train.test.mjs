/**
 * bench/train.mjs runs to its end on the small checkpoint, in `npm run test:long`; without PyTorch it measures node-mora alone.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseMethod } from '../../bench/common/methods.mjs'
import { lacksPeftNote, peftVersions, pytorchCommand } from '../../bench/common/pytorch.mjs'
import { SideProcess } from '../../bench/common/side-process.mjs'
import { sidesAgainst, taskOf } from '../../bench/training/contest.mjs'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, lacksLong, needing } from '../needs.ts'

const folder = useTemporaryFolder()

needing(lacksLong).test('npm run bench train measures each method on a small model', () => {
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

/** A stand-in of an interpreter that prints a given text, or fails. */
function standIn(command) {
  const path = join(folder(), 'python3')
  writeFileSync(path, `#!/bin/sh\n${command}\n`, { mode: 0o755 })
  return path
}

const lora = parseMethod('lora:8')
const rotation = parseMethod('rotation:8')
const namesOf = (options, method) => sidesAgainst(options, method).map(({ name }) => name)

test('transformers with PEFT take part where the interpreter has both, plain and compiled', () => {
  const peft = peftVersions(standIn("echo 'transformers 5.24.0, PEFT 1.0'"))
  expect(peft).toBe('transformers 5.24.0, PEFT 1.0')
  expect(namesOf({ peft, compileMinutes: 0 }, lora)).toEqual(['PyTorch, best', 'PEFT, best'])
  const compiled = ['PyTorch, best', 'PyTorch, compiled', 'PEFT, best', 'PEFT, compiled']
  expect(namesOf({ peft, compileMinutes: 1 }, lora)).toEqual(compiled)
  expect(namesOf({ peft, compileMinutes: 0 }, rotation)).toEqual(['PyTorch, best'])

  const options = { peft, compileMinutes: 1, rows: 1, length: 8, threads: 1 }
  const task = taskOf(sidesAgainst(options, lora).at(-1), { options, folder: '/made', dtype: 'bfloat16' })
  expect(task).toMatchObject({ library: 'peft', best: true, dtype: 'bfloat16', compile: '/made/compiled-peft' })
})

test('an interpreter without transformers or PEFT is named with the way out', () => {
  const python = standIn('exit 1')
  expect(peftVersions(python)).toBeNull()
  expect(namesOf({ peft: null, compileMinutes: 0 }, lora)).toEqual(['PyTorch, best'])
  expect(lacksPeftNote(python)).toContain(`${python} cannot import both. Install them beside torch`)
})

const lacksPython = lack('python3', spawnSync('python3', ['--version']).status === 0)

needing(lacksPython).test('what a library prints does not mix with the answers of a side', async () => {
  writeFileSync(
    join(folder(), 'torch.py'),
    "__version__ = '1'\ndef set_num_threads(count): print('threads')\ndef get_num_threads(): return 1\n",
  )
  const script = join(folder(), 'side.py')
  writeFileSync(
    script,
    `import os, protocol
def step(request):
    print({'loss': 1})
    os.system('echo from a process')
    return {'seconds': 2}
protocol.options()
protocol.serve({'step': step})
`,
  )
  const environment = { PYTHONPATH: `${folder()}:bench/pytorch`, PYTHONDONTWRITEBYTECODE: '1' }
  const side = new SideProcess('TRL', 'python3', [script, '{"threads": 1}'], environment)
  expect(await side.ready()).toMatchObject({ version: '1', threads: 1 })
  expect(await side.ask({ task: 'step' })).toEqual({ seconds: 2 })
  await side.stop()
})

test("an allocator replaces glibc's settings", () => {
  const environment = (options, tuned) => pytorchCommand('train.py', {}, { python: 'python3', ...options }, tuned)[2]
  expect(environment({}, true)).toHaveProperty('MALLOC_TRIM_THRESHOLD_')
  const loaded = environment({ allocator: '/lib/libtcmalloc.so.4' }, true)
  expect(loaded).toMatchObject({ LD_PRELOAD: '/lib/libtcmalloc.so.4' })
  expect(loaded).not.toHaveProperty('MALLOC_TRIM_THRESHOLD_')
  expect(environment({ allocator: '/lib/libtcmalloc.so.4' }, false)).not.toHaveProperty('LD_PRELOAD')
})
