import type { ProgramGrader } from '../graders/grade.js'
import type { Model } from '../models/index.js'

/** The server of the model that jobs train. */
export interface JobsHost {
  readonly model: Model
  /** The base model's name for clients. */
  readonly baseName: string
  /** The chat template: `auto`, or the path of a file. */
  readonly template: string
  /** Serves the adapter in a folder under a name. */
  serve(name: string, folder: string): void
  /** Drops a served adapter, if there is one of that name. */
  drop(name: string): Promise<void>
  /** Loads the adapter in a folder into the model under a name, without serving it. */
  load(name: string, folder: string): Promise<void>
  /** Removes an adapter of the model that was never served. */
  discard(adapter: string): Promise<void>
  /**
   * Answers a request of the server's own for a client, as one from outside.
   * @param path of a route, such as `/v1/chat/completions`
   */
  answer(path: string, body: object, client: string | null, signal?: AbortSignal): Promise<Response>
  /** The program's graders by name. */
  readonly graders: Readonly<Record<string, ProgramGrader>>
  /** Routes of requests in batches. */
  readonly endpoints: readonly string[]
  /** Maximum number of requests of batches that are answered at once. */
  readonly batchRequests: number
  /** @throws UsageError `unknown-adapter` for a model that is not served to a client */
  requireModel(name: string, client: string | null): void
  readonly onError: (error: unknown) => void
}
