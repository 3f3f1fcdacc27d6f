/** The data of the page, from the server or inside a report. Only types: the page's own modules use them too. */

/** A run in the list. */
export interface RunSummary {
  /** Path relative to the folder; `.` for the folder itself. */
  id: string
  name: string
  /** `running`: a live process writes to it. `finished`: it is complete. `stopped`: it can be resumed. `empty`: no step yet. */
  status: 'running' | 'finished' | 'stopped' | 'empty'
  step: number | null
  totalSteps: number | null
  loss: number | null
  method: string | null
  /** Last change, in milliseconds since 1970. */
  modified: number
}

export interface RunList {
  folder: string
  runs: RunSummary[]
  /** False if the search reached its limits. */
  complete: boolean
}

/** A number, or null where it is missing or not finite. */
export type MetricValue = number | null

/** Rows of metrics reduced to at most a few thousand points. */
export interface TablePart {
  /** Total number of rows. */
  rows: number
  /** Number of rows in a point: a power of two. */
  width: number
  /** Number of the first point in this part; earlier points are unchanged. */
  from: number
  /** The last step of each point. */
  steps: number[]
  /** Progress at the last step of each point: `epoch`, `tokens` and `seconds`; of optimizer steps only. */
  at: Record<string, MetricValue[]>
  /** For each metric, the mean of a point's rows and, if a point may have several rows, their lowest and highest value. */
  metrics: Record<string, { mean: MetricValue[]; low?: MetricValue[]; high?: MetricValue[] }>
  /** The last row, regardless of points; null if there is none. */
  last: { step: number; values: Record<string, MetricValue> } | null
}

export interface RunMetrics {
  /** Changes when rows that were sent are gone; the part then begins at point 0. */
  version: string
  steps: TablePart
  evaluations: TablePart
  /** The user's own metrics in the order of their first values, each in a table with the metric `value`. */
  own: (TablePart & { name: string })[]
  /** Whether there are more own metrics than are read. */
  hasMoreOwn: boolean
  /** Number of lines that could not be read. */
  malformed: number
}

/** The rows that a page already has of its tables (steps, evaluations, own metrics), so that only new rows are sent. */
export interface KnownMetrics {
  version: string
  tables: { rows: number; width: number }[]
}

/** An answer during training. */
export interface Sample {
  step: number
  prompt: string
  text: string
  /** Rewards by name; empty if it was not rewarded. */
  rewards: string
}

export interface RunDetails {
  id: string
  /** The lines of the configuration. */
  facts: { group: string; name: string; value: string }[]
  /** Steps of the existing checkpoints. */
  checkpoints: number[]
  /** The kind of result that `mora serve` can load; null before the first checkpoint. */
  serves: 'adapter' | 'model' | null
  /** The newest samples, in order. */
  samples: Sample[]
  /** Problems with files of the run. */
  problems: string[]
}

/** The data in a report, which replaces the server. */
export interface ReportData {
  /** When it was written, ISO 8601. */
  made: string
  version: string
  list: RunList
  details: Record<string, RunDetails>
  metrics: Record<string, RunMetrics>
}
