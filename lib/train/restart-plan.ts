import type { AdapterConfigBase } from '../adapters/contract/adapter.js'

/** What an adapter is after each of its restarts. */
export interface RestartPlan {
  /** Name of the adapter. */
  readonly adapter: string
  /** Optimizer steps between restarts. */
  readonly every: number
  /** As run.yaml records it, beside the adapter's own options. */
  readonly options: Readonly<Record<string, unknown>>
  /** The adapter after so many restarts, and the seed of its initial values. */
  after(restarts: number): { config: AdapterConfigBase; seed: number }
}
