/** The record of finished runs, written after each cell, so that an interrupted comparison resumes where it stopped. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { keep } from '../../../bench/common/keep.mjs'

export class Record {
  #cells

  constructor(path, head) {
    this.path = path
    this.head = head
    const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null
    this.#cells = before && keyOf(before.head) === keyOf(head) ? before.cells : {}
  }

  get cells() {
    return Object.values(this.#cells)
  }

  find(cell) {
    return this.#cells[keyOf(cell)]
  }

  add(cell, result) {
    this.#cells[keyOf(cell)] = { ...cell, result }
    keep(this.path, { head: this.head, cells: this.#cells })
  }
}

function keyOf(value) {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16)
}
