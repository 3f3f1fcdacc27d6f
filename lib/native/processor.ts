/** Whether an addon that was compiled for one processor can run on this machine's. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cpuFlags } from '../system/processor.js'

/** The flags of x86 and of Arm that stand for instructions that compilers use. */
const INSTRUCTIONS =
  /^(abm|adx|aes|amx|avx|bmi|clwb|f16c|fma|gfni|movbe|pclmul|popcnt|sha|sse|ssse|vaes|vpclmul|xop|3dnowprefetch|asimd|atomics|bf16|crc32|dcpop|fcma|flagm|fp|frint|i8mm|jscvt|lrcpc|pmull|sm3|sm4|sve)/

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
