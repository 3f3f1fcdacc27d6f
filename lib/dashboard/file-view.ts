import { type RunFile, withFileInside } from './inside.js'

/** A value computed from a file, and computed again only when the file has changed. */
export class FileView<Value> {
  readonly #path: string
  readonly #read: (file: RunFile) => Promise<Value>
  #stamp = ''
  #value: Value | null = null

  constructor(path: string, read: (file: RunFile) => Promise<Value>) {
    this.#path = path
    this.#read = read
  }

  /** Returns the value; null if the file is absent. */
  get(): Promise<Value | null> {
    return withFileInside(this.#path, async (file) => {
      const stamp = `${file.size} ${file.modified}`
      if (stamp !== this.#stamp) {
        this.#value = await this.#read(file)
        this.#stamp = stamp
      }
      return this.#value
    })
  }
}
