/** Commands in a control group of their own, whose memory has a limit. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lack } from '../needs.js'
import { main } from './command.js'

const mounted = '/sys/fs/cgroup'
/** Version 1 has a hierarchy for memory alone. */
const root = existsSync(join(mounted, 'memory')) ? join(mounted, 'memory') : mounted
const limitFile = root === mounted ? 'memory.max' : 'memory.limit_in_bytes'

let made = 0

/** Calls `use` with the folder of a new group with a limit in bytes, and removes it afterwards. */
function withGroup<R>(limit: number, use: (group: string) => R): R {
  const group = join(root, `mora-test-${process.pid}-${++made}`)
  mkdirSync(group)
  try {
    writeFileSync(join(group, limitFile), String(limit))
    return use(group)
  } finally {
    rmdirSync(group)
  }
}

export function lacksGroups(): Lack {
  try {
    return withGroup(2 ** 30, () => null)
  } catch (error) {
    return `control groups: ${(error as Error).message}`
  }
}

export interface GroupEnding {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** Processes that the kernel ended for their memory. */
  killed: number
  /** The group's limit in bytes. */
  peak: number
}

/** Runs `mora` with these arguments in a group with this limit in bytes. */
export function runWithin(limit: number, argv: readonly string[], timeout = 120_000): GroupEnding {
  return withGroup(limit, (group) => {
    const enter = `echo $$ > ${join(group, 'cgroup.procs')} && exec "$@"`
    const { status, signal, stdout, stderr } = spawnSync('sh', ['-c', enter, 'sh', process.execPath, main, ...argv], {
      encoding: 'utf8',
      timeout,
    })
    return { code: status, signal, stdout, stderr, killed: killedIn(group), peak: peakOf(group) }
  })
}

const numberIn = (group: string, file: string, pattern = /^(\d+)/): number => {
  const path = join(group, file)
  return existsSync(path) ? Number(pattern.exec(readFileSync(path, 'utf8'))?.[1] ?? 0) : 0
}

function killedIn(group: string): number {
  const file = limitFile === 'memory.max' ? 'memory.events' : 'memory.oom_control'
  return numberIn(group, file, /^oom_kill (\d+)/m)
}

function peakOf(group: string): number {
  return Math.max(numberIn(group, 'memory.max_usage_in_bytes'), numberIn(group, 'memory.peak'))
}
