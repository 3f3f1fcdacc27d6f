/** Objects in files of JSON lines that grow. */
import { AppendedLines } from '../io/appended-lines.js'
import { isJsonObject, jsonIn } from '../io/json.js'

interface KnownFile {
  readonly lines: AppendedLines
  readonly objects: object[]
}

/** Maximum number of files whose lines are kept. */
const MOST_FILES = 8

export class GrownLines {
  /** The file that was asked for last is the last. */
  readonly #known = new Map<string, KnownFile>()

  /**
   * Returns the objects in a file; lines that are incomplete and a missing file count as none.
   * @param path contains no links
   */
  async of<Line extends object>(path: string): Promise<readonly Line[]> {
    const file = this.#known.get(path) ?? opened(path)
    this.#known.delete(path)
    this.#known.set(path, file)
    if (this.#known.size > MOST_FILES) this.#known.delete([...this.#known.keys()][0]!)
    await file.lines.read()
    return [...file.objects] as Line[]
  }
}

function opened(path: string): KnownFile {
  const objects: object[] = []
  const lines = new AppendedLines(path, {
    onLine(line) {
      const value = jsonIn(line)
      if (isJsonObject(value)) objects.push(value)
    },
    onReset() {
      objects.length = 0
    },
  })
  return { lines, objects }
}
