/** Whether an addon that was compiled for one processor can run on this machine's. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cpuFlags } from '../system/processor.js'

/** The flags of x86 and of Arm that stand for instructions that compilers use. */
const INSTRUCTIONS =
  /^(abm|adx|aes|amx|avx|bmi|clwb|f16c|fma|gfni|movbe|pclmul|popcnt|sha|sse|ssse|vaes|vpclmul|xop|3dnowprefetch|asimd|atomics|bf16|crc32|dcpop|fcma|flagm|fp|frint|i8mm|jscvt|lrcpc|pmull|sm3|sm4|sve)/

/** A processor: its name, and its flags of /proc/cpuinfo. */
interface Processor {
  name: string
  flags: string[]
}

/**
 * Returns the processor that an addon was compiled for, from `processor.json` beside the addon (scripts/build-native.mjs); null
 * without this file: it runs on all.
 */
export function processorOf(addon: string): Processor | null {
  let text: string
  try {
    text = readFileSync(join(dirname(addon), 'processor.json'), 'utf8')
  } catch {
    return null
  }
  return JSON.parse(text) as Processor
}

/** Throws if an addon was compiled for a processor with instructions that this one lacks: it would end the process. */
export function requireProcessor(addon: string, flags: () => string[] = cpuFlags): void {
  const builtFor = processorOf(addon)
  if (builtFor === null) return
  const here = new Set(flags())
  const lacking = builtFor.flags.filter((flag) => INSTRUCTIONS.test(flag) && !here.has(flag))
  if (lacking.length === 0) return
  throw new Error(`it was built for another processor, ${builtFor.name}, and this one lacks ${lacking.join(', ')}`)
}
