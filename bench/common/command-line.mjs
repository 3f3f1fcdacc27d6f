import { parseArgs } from 'node:util'

/** Runs `read`; a wrong option ends the process with its message and exit code 2. */
export function orUsageError(read) {
  try {
    return read()
  } catch (error) {
    console.error(error.message)
    process.exit(2)
  }
}

/** What parseArgs reads; with `--help` the command says its usage and ends. */
export function parseOptions(usage, options, { allowPositionals = true } = {}) {
  const parsed = parseArgs({ allowPositionals, options: { ...options, help: { type: 'boolean', default: false } } })
  if (!parsed.values.help) return parsed
  console.log(usage)
  process.exit(0)
}
