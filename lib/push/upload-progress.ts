/** How far an upload is. */
export interface PushProgress {
  /** `owner/name`. */
  readonly repository: string
  /** Large files are hashed before they are uploaded. */
  readonly phase: 'hashing' | 'uploading'
  /** Bytes of this phase that are done, with what the hub had already. */
  readonly doneBytes: number
  /** Bytes of all files. */
  readonly totalBytes: number
}

/** Adds up how far each file is. */
export class UploadProgress {
  readonly totalBytes: number
  readonly #bytes: ReadonlyMap<string, number>
  readonly #hashed = new Map<string, number>()
  readonly #uploaded = new Map<string, number>()
  readonly #repository: string

  constructor(repository: string, files: readonly { name: string; bytes: number }[]) {
    this.#repository = repository
    this.#bytes = new Map(files.map(({ name, bytes }) => [name, bytes]))
    this.totalBytes = sum(this.#bytes.values())
  }

  /** @param fraction of the file, in this phase */
  after(phase: PushProgress['phase'], file: string, fraction: number): PushProgress {
    const done = phase === 'hashing' ? this.#hashed : this.#uploaded
    done.set(file, Math.floor(fraction * (this.#bytes.get(file) ?? 0)))
    return { repository: this.#repository, phase, doneBytes: sum(done.values()), totalBytes: this.totalBytes }
  }
}

function sum(numbers: Iterable<number>): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}
