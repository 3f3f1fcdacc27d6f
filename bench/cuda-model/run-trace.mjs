// Traces in processes of their own, in which the emulator computes nothing: an empty Llama-2-7B fits anywhere.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const H100_BYTES = 80 * 2 ** 30

/** Runs `script`, a file of this folder, with `what` on a device of the given memory; returns what it prints. */
export function traced(script, what, deviceBytes = H100_BYTES) {
  const folder = mkdtempSync(join(tmpdir(), 'mora-trace-'))
  const path = fileURLToPath(new URL(script, import.meta.url))
  const emulator = {
    MORA_CUDA: 'emulated',
    MORA_SIMT_COMPUTE: '0',
    MORA_SIMT_PROTECT: '0',
    MORA_SIMT_MULTIPROCESSORS: '132',
    MORA_SIMT_MEMORY: String(deviceBytes),
    MORA_SIMT_TRACE: join(folder, 'trace.jsonl'),
  }
  const env = { ...process.env, ...emulator }
  /** @type {import('node:child_process').StdioOptions} */
  const stdio = ['ignore', 'pipe', 'inherit']
  const child = spawnSync(process.execPath, [path, JSON.stringify(what)], { env, stdio, maxBuffer: 2 ** 28 })
  rmSync(folder, { recursive: true })
  if (child.status !== 0) process.exit(1) // the script has printed why
  return JSON.parse(child.stdout.toString())
}
