import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { arch } from 'node:os'
import { join } from 'node:path'
import { RunError } from '../../common/errors.js'
import { packageFolder } from '../../common/package-info.js'
import { CommonOptionsSchema } from '../../options/index.js'
import { defineCommand, OPTIONS_OF_MODELS } from '../command.js'

export const buildCommand = defineCommand({
  name: 'build',
  summary: "compile the native addon for this machine, where the platform's package is absent or does not fit",
  schema: CommonOptionsSchema,
  idle: OPTIONS_OF_MODELS,
  examples: ['mora build'],
  check() {},
  async run({ json }) {
    const script = join(packageFolder, 'scripts', 'build-native.mjs')
    // The compiler's output is for people.
    const child = spawn(process.execPath, [script, '--if-needed'], { stdio: ['ignore', json ? 2 : 1, 2] })
    const [status] = await once(child, 'close')
    if (status !== 0) throw new RunError('no-binary', 'The addon was not built; the reason stands above.')
    const addon = join(packageFolder, 'build', 'Release', 'mora.node')
    const { loadBinary } = await import('../../native/binary.js')
    const { processorOf } = await import('../../native/processor.js')
    loadBinary([addon])
    const builtFor = processorOf(addon)?.name ?? null
    return { json: { addon, builtFor }, text: `${addon} is built for ${builtFor ?? `every ${arch()} processor`}` }
  },
})
