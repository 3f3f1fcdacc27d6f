import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { type PushOptions, pushWith } from '../../lib/push/push.js'
import { useStandIn } from '../hub/use-stand-in.js'

export const LARGE = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) % 251))
export const CONFIG = JSON.stringify({ base_model_name_or_path: 'owner/base', r: 8 })
export const ADAPTER = { 'adapter_config.json': CONFIG, 'adapter_model.safetensors': LARGE }

/** A folder to push and a stand-in of the hub for each test. */
export function usePush() {
  const hub = useStandIn()
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mora-push-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))
  const pushed = () => hub().standIn.pushed
  return {
    hub,
    pushed,
    folder: () => folder,
    write(files: Record<string, string | Buffer>): void {
      for (const [name, content] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, name)), { recursive: true })
        writeFileSync(join(folder, name), content)
      }
    },
    push: (options: Partial<PushOptions> = {}) =>
      pushWith(
        { path: folder, repository: 'owner/name', onWarning: hub().options.onWarning!, ...options },
        hub().options,
      ),
    remote: (branch?: string) => pushed().filesOf('owner/name', branch),
  }
}
