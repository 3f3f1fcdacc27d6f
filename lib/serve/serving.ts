/** The state that all routes share. */
import type { TextEngine } from '../generate/index.js'
import type { Jobs } from '../jobs/index.js'
import type { Model } from '../models/index.js'
import type { ActiveRequests } from './active-requests.js'
import type { ServerMetrics } from './metrics.js'
import type { ServedAdapters } from './served-adapters.js'
import type { StoredItems } from './stored-items.js'

export interface Serving {
  readonly model: Model
  readonly engine: TextEngine
  readonly adapters: ServedAdapters
  readonly requests: ActiveRequests
  readonly metrics: ServerMetrics
  /** Items of responses. */
  readonly items: StoredItems
  /** The chat template: `auto`, or the path of a file. */
  readonly template: string
  /** Maximum number of new tokens of a chat that sets none; undefined: the model's positions. */
  readonly maxTokens: number | undefined
  /** Maximum size of a request's body [bytes]. */
  readonly maxBodyBytes: number
  /** Whether clients may load and drop adapters. */
  readonly allowLoading: boolean
  /** Training jobs; undefined where the server has none. */
  readonly jobs: Jobs | undefined
  /** Called with each failure that is not the client's. */
  readonly onError: (error: unknown) => void
}

/** A request about files and jobs. */
export interface JobAsked {
  /** The name of the client's key; null if keys have no names. */
  readonly owner: string | null
  /** The id in the path; empty if it has none. */
  readonly id: string
  readonly maxBodyBytes: number
}

/** Routes of files and jobs: by path, and then by method. */
export type ClientRoutes = Readonly<
  Record<string, Readonly<Record<string, (request: Request, jobs: Jobs, asked: JobAsked) => Promise<Response>>>>
>
