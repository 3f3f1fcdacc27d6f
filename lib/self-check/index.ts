/** Whether this machine computes what others do: operations, gradients and training steps against values from another machine. */
import { arch, platform, release } from 'node:os'
import { asMessage } from '../common/printable.js'
import { openDevice } from '../tensor/device.js'
import type { Check } from './check.js'
import { networkChecks } from './networks.js'
import { operationChecks } from './operations.js'
import { deviation, readGolden } from './reference.js'
import { runChecks } from './training-run.js'

/** The result of one check. */
export interface CheckResult {
  name: string
  /** The largest difference, as a share of the largest golden value of the same result; null if nothing could be compared. */
  deviation: number | null
  /** The deviation that is allowed. */
  tolerance: number
  passed: boolean
  /** Why nothing could be compared; null otherwise. */
  problem: string | null
}

/** The report of `mora doctor --check`. */
export interface SelfCheck {
  /** The operating system, as in `process.platform`, and its version. */
  system: string
  /** `x64` or `arm64`, as in `process.arch`. */
  architecture: string
  /** The version of Node.js, or of what runs in its place. */
  node: string
  results: CheckResult[]
  /** Whether all passed. */
  passed: boolean
}

export const allChecks: readonly Check[] = [...operationChecks, ...networkChecks, ...runChecks]

/** Runs all checks on the CPU, one after the other, with the threads of `mora doctor`. */
export async function selfCheck(threads = 0): Promise<SelfCheck> {
  const golden = readGolden()
  const device = openDevice({ device: 'cpu', threads })
  const results: CheckResult[] = []
  for (const { name, tolerance, compute } of allChecks) {
    const result: CheckResult = { name, deviation: null, tolerance, passed: false, problem: null }
    try {
      const apart = deviation(await compute(device), golden[name])
      Object.assign(result, { deviation: apart, passed: apart <= tolerance })
    } catch (error) {
      result.problem = asMessage((error as Error).message)
    }
    results.push(result)
  }
  return {
    system: `${platform()} ${release()}`,
    architecture: arch(),
    node: process.version,
    results,
    passed: results.every(({ passed }) => passed),
  }
}
