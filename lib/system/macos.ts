/** Facts that macOS tells by its programs, where Linux has files. */
import { spawnSync } from 'node:child_process'

/** Runs a program of the system; null if it is absent or fails. */
function said(program: string, ...programArguments: string[]): string | null {
  const { status, stdout } = spawnSync(program, programArguments, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 10_000,
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
  })
  return status === 0 ? stdout : null
}

/** Returns when a process started, `ended` if it waits for its parent to take notice of its end, or null if there is none. */
export function startOfProcessByPs(pid: number): string | null {
  const [, state, started] =
    /^\s*(\S+)\s+(.+?)\s*$/.exec(said('ps', '-o', 'state=', '-o', 'lstart=', '-p', `${pid}`) ?? '') ?? []
  if (state === undefined) return null
  return state.startsWith('Z') ? 'ended' : started!
}

/** Returns the bytes of pages that are free, or hold what is in files or was not used for long; null if they are not told. */
export function freeMemoryByVmStat(text = said('vm_stat')): number | null {
  const numberAfter = (name: string) => Number(new RegExp(`${name}:?\\s*(\\d+)`).exec(text ?? '')?.[1])
  const pages = ['Pages free', 'Pages inactive', 'Pages speculative'].map(numberAfter)
  const bytes = numberAfter('page size of') * pages.reduce((sum, count) => sum + count, 0)
  return Number.isNaN(bytes) ? null : bytes
}

/** Names of macOS for extensions of Arm's instructions, beside those of Linux. */
const ARM_FEATURES: Readonly<Record<string, string>> = {
  AdvSIMD: 'asimd',
  FEAT_FP16: 'asimdhp',
  FEAT_DotProd: 'asimddp',
  FEAT_I8MM: 'i8mm',
  FEAT_BF16: 'bf16',
}

/** Returns the processor's extensions by the names that Linux has for them; none if macOS does not tell them. */
export function cpuFlagsBySysctl(text = said('sysctl', 'hw.optional', 'machdep.cpu')): string[] {
  const lines = [...(text ?? '').matchAll(/^([\w.]+): (.+)$/gm)]
  return lines.flatMap(([, name = '', value = '']) => {
    if (/^machdep\.cpu\.(leaf7_)?features$/.test(name))
      return value.split(' ').map((feature) =>
        feature
          .toLowerCase()
          .replace(/^avx1\.0$/, 'avx')
          .replace('.', '_'),
      )
    const feature = ARM_FEATURES[name.slice(name.lastIndexOf('.') + 1)]
    return feature !== undefined && value === '1' ? [feature] : []
  })
}
