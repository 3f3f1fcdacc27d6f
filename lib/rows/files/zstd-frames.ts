/** Lengths of a frame's fields in bytes, in order; other content is skipped. */
const LENGTHS = { magic: 4, skippable: 4, descriptor: 1, block: 3 } as const

/**
 * Finds where the frames of Zstandard data end (RFC 8878, section 3.1), piece by piece. Node.js 22 reports no error for a frame
 * that is cut off: half of an interrupted download would be trained on as if it were whole
 * (test/rows/files/compressed.test.ts).
 */
export class ZstdFrames {
  #field: keyof typeof LENGTHS = 'magic'
  /** The field so far, little-endian. */
  #value = 0
  #length = 0
  #skipped = 0
  #checksumBytes = 0

  /** Whether the data read so far ends at the end of a frame. */
  get isWhole(): boolean {
    return this.#field === 'magic' && this.#length === 0 && this.#skipped === 0
  }

  read(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      const skipped = Math.min(this.#skipped, chunk.length - at)
      this.#skipped -= skipped
      at += skipped
      if (at === chunk.length) return
      this.#value += chunk[at++]! * 2 ** (8 * this.#length++)
      if (this.#length < LENGTHS[this.#field]) continue
      const value = this.#value
      this.#value = this.#length = 0
      this.#follow(value)
    }
  }

  #follow(value: number): void {
    switch (this.#field) {
      case 'magic':
        this.#field = Math.floor(value / 16) === 0x184d2a5 ? 'skippable' : 'descriptor'
        return
      case 'skippable':
        this.#skipped = value
        this.#field = 'magic'
        return
      case 'descriptor': {
        const singleSegment = (value >> 5) & 1
        const dictionary = [0, 1, 2, 4][value & 3]!
        const contentSize = [singleSegment, 2, 4, 8][value >> 6]!
        this.#checksumBytes = value & 4
        this.#skipped = 1 - singleSegment + dictionary + contentSize
        this.#field = 'block'
        return
      }
      case 'block': {
        const [isLast, isRepeatedByte, size] = [value & 1, ((value >> 1) & 3) === 1, value >> 3]
        this.#skipped = (isRepeatedByte ? 1 : size) + (isLast ? this.#checksumBytes : 0)
        if (isLast) this.#field = 'magic'
      }
    }
  }
}
