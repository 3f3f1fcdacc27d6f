/** The instructions of this machine's processor, and whether an addon that was compiled for one processor can run here. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Returns the flags of /proc/cpuinfo (x86 `flags`, Arm `Features`); none if the system is not Linux. */
export function cpuFlags(): string[] {
  let text: string
  try {
    text = readFileSync('/proc/cpuinfo', 'utf8')
  } catch {
    return []
  }
  return /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/) ?? []
}

/** The flags of x86 that stand for instructions that compilers use; those of Arm all do. */
const INSTRUCTIONS =
  /^(abm|adx|aes|amx|asimd|avx|bf16|bmi|clwb|f16c|fma|fp|gfni|i8mm|movbe|pclmul|popcnt|sha|sse|ssse|sve|vaes|vpclmul|xop|3dnowprefetch)/

/**
 * Throws if an addon was compiled for a processor with instructions that this one lacks: it would end the process. `processor.json`
 * beside the addon (scripts/build-native.mjs) has the name and the flags of that processor; without this file it runs on all.
 */
export function requireProcessor(addon: string, flags: () => string[] = cpuFlags): void {
  const path = join(dirname(addon), 'processor.json')
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return
  }
  const builtFor = JSON.parse(text) as { name: string; flags: string[] }
  const here = new Set(flags())
  const lacking = builtFor.flags.filter((flag) => INSTRUCTIONS.test(flag) && !here.has(flag))
  if (lacking.length === 0) return
  throw new Error(`it was built for another processor, ${builtFor.name}, and this one lacks ${lacking.join(', ')}`)
}
