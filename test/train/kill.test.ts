import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../lib/random.js'
import { goldenPath } from '../golden/files.js'

const golden = (name: string): string => goldenPath(name) ?? name

const root = join(import.meta.dirname, '..', '..')
const scratch = mkdtempSync(join(tmpdir(), 'mora-kill-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const kills = process.env.MORA_TEST_LONG ? 40 : 6

function start(output: string, ...more: string[]): ChildProcess {
  const training = golden('tiny-untied/training/rotation-cosine/rows.jsonl')
  const options = ['--rank', '2', '--dropout', '0.1', '--max-steps', '24', '--batch-size', '4', '--threads', '1']
  const paths = ['--model', golden('tiny-untied/model'), '--data', training, '--output', output]
  const command = [join(root, 'dist', 'cli', 'main.js'), 'train', ...paths, ...options, '--save-every', '2', ...more]
  return spawn(process.execPath, command, { stdio: 'ignore' })
}

const ended = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => child.on('exit', resolve))
const wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))

const runs: [string, string[], string][] = [
  ['a run', [], 'adapter_model.safetensors'],
  ['a run that merges on the way', ['--merge-every', '3', '--regroup', 'permute'], 'model/model.safetensors'],
]

describe.skipIf(!existsSync(join(root, 'dist', 'cli', 'main.js')))('SIGKILL ends again and again', () => {
  it.each(runs)(
    '%s: T20, T21 goes on from its newest whole checkpoint and ends with the same bits',
    {
      timeout: 300_000,
    },
    async (name, options, result) => {
      const [undisturbed, killed] = [join(scratch, `${name}, undisturbed`), join(scratch, `${name}, killed`)]
      const begun = Date.now()
      expect(await ended(start(undisturbed, ...options))).toBe(0)
      const duration = Date.now() - begun

      const random = randomStream(1, 'moments of death')
      let deaths = 0
      for (let i = 0; i < kills; i++) {
        const child = start(killed, ...options, '--resume')
        const exit = ended(child)
        await Promise.race([exit, wait(duration * (0.3 + 0.6 * random.uniform()))])
        if (child.kill('SIGKILL')) deaths++
        await exit
      }
      expect(deaths).toBeGreaterThan(0)
      expect(await ended(start(killed, ...options, '--resume'))).toBe(0)

      const bytes = (folder: string, file: string) => readFileSync(join(folder, file)).toString('base64')
      expect(bytes(killed, result)).toBe(bytes(undisturbed, result))
      const losses = (folder: string) =>
        readFileSync(join(folder, 'metrics.jsonl'), 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { step: number; loss: number; gradNorm: number })
          .map(({ step, loss, gradNorm }) => [step, loss, gradNorm])
      expect(losses(killed)).toEqual(losses(undisturbed))
    },
  )
})
