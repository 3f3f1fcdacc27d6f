import { createInterface } from 'node:readline'
import { formatBytes } from '../../common/bytes.js'
import { UsageError } from '../../common/errors.js'
import { asMessage } from '../../common/printable.js'
import { PushSchema } from '../../options/index.js'
import { defineCommand, OPTIONS_OF_MODELS } from '../command.js'
import { requirePath } from '../paths.js'
import { formatFacts } from '../terminal/format.js'
import { Progress } from '../terminal/progress.js'
import type { Terminal } from '../terminal/terminal.js'
import { transferPrinter } from '../terminal/transfer-line.js'

export const pushCommand = defineCommand({
  name: 'push',
  summary: 'upload an adapter, a model or a GGUF file to the Hugging Face hub, with its model card',
  schema: PushSchema,
  idle: OPTIONS_OF_MODELS,
  positional: ['path', 'repository'],
  examples: ['mora push out owner/name --private', 'mora push merged.gguf owner/name --message "Q8_0"'],
  check({ path, offline }) {
    requirePath('path', path)
    if (offline) {
      throw new UsageError('unfit-options', 'Nothing is pushed with --offline: leave it out.')
    }
  },
  async run(options, { terminal }) {
    const { pushToHub } = await import('../../push/push.js')
    const { path, repository, private: isPrivate, revision, message, checkpoints, include, quiet } = options
    const hasReader = terminal.stdin.isTTY === true && terminal.stderr.isTTY === true
    using progress = new Progress(terminal.stderr, { quiet })
    const show = transferPrinter(progress, terminal.stderr)
    const json = await pushToHub({
      path: path!,
      repository: repository!,
      private: isPrivate,
      revision,
      message,
      checkpoints,
      include,
      ...(hasReader && { confirm: (others) => askFor(others, terminal) }),
      onProgress: (now) => show(now.phase, now, `${now.phase} `),
      onWarning: progress.warn,
    })
    const text = formatFacts([
      ['page', json.url],
      ['commit', json.commit],
      ['files', `${json.files}, ${formatBytes(json.bytes)}`],
    ])
    return { json, text }
  },
})

/** Asks whether to upload files that are not part of an adapter, a model or a run; anything but yes means no. */
async function askFor(others: readonly string[], { stdin, stderr }: Terminal): Promise<boolean> {
  for (const name of others) stderr.write(`${asMessage(name)}\n`)
  stderr.write('These files are not part of an adapter, a model or a run. Upload them too? [y/N] ')
  const lines = createInterface({ input: stdin, terminal: false })
  try {
    for await (const line of lines) return /^y(es)?$/i.test(line.trim())
    return false
  } finally {
    lines.close()
  }
}
