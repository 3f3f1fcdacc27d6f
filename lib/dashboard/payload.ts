/** What the page gets, from the server or inside a report. Types only: the page's own modules refer to them too. */

/** `running`: a living process writes to it. `finished`: it came to its end. `stopped`: it can go on. `empty`: no step yet. */
export type RunStatus = 'running' | 'finished' | 'stopped' | 'empty'

/** A run in the list. */
export interface RunSummary {
  /** Its path below the folder; `.` for the folder itself. */
  id: string
  name: string
  status: RunStatus
  step: number | null
  totalSteps: number | null
  loss: number | null
  method: string | null
  /** Milliseconds since 1970. */
  modified: number
}

export interface RunList {
  folder: string
  runs: RunSummary[]
  /** False when the folder holds more than was looked at. */
  complete: boolean
}

/** A number, or null where it is missing or not finite. */
export type MetricValue = number | null

/** A metric in points: the mean of a point's rows and, where a point may be several, their lowest and highest. */
export interface Band {
  mean: MetricValue[]
  low?: MetricValue[]
  high?: MetricValue[]
}

/** Rows of metrics in at most a few thousand points. */
export interface TablePart {
  /** Rows that there are. */
  rows: number
  /** Rows in a point: a power of two. */
  width: number
  /** Number of the first point in this part; earlier points are as they were. */
  from: number
  /** The last step of each point. */
  steps: number[]
  /** How far the run was at the last step of each point: `epoch`, `tokens` and `seconds`; of optimizer steps only. */
  at: Record<string, MetricValue[]>
  metrics: Record<string, Band>
  /** The last row, whatever the points are; null where there is none. */
  last: { step: number; values: Record<string, MetricValue> } | null
}

export interface RunMetrics {
  /** Another one than before: rows that were told are gone, and the part begins at point 0. */
  version: string
  steps: TablePart
  evaluations: TablePart
  /** Metrics of the user's own, each in a table whose metric is `value`, in the order in which they came. */
  own: (TablePart & { name: string })[]
  /** There are more own metrics than are read. */
  hasMoreOwn: boolean
  /** Lines that could not be read. */
  malformed: number
}

/** What is known already: of these tables (steps, evaluations, own metrics) the rest is enough. */
export interface KnownMetrics {
  version: string
  tables: { rows: number; width: number }[]
}

export interface Sample {
  step: number
  prompt: string
  text: string
}

/** A line of the configuration. */
export interface RunFact {
  group: string
  name: string
  value: string
}

export interface RunDetails {
  id: string
  facts: RunFact[]
  /** Steps of the checkpoints that there are. */
  checkpoints: number[]
  /** The newest ones, in order. */
  samples: Sample[]
  /** What could not be read. */
  problems: string[]
}

/** What a report holds in place of a server. */
export interface ReportData {
  /** When it was made, ISO 8601. */
  made: string
  version: string
  list: RunList
  details: Record<string, RunDetails>
  metrics: Record<string, RunMetrics>
}
