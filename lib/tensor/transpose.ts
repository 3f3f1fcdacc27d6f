type Values = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array

/** Returns the transpose [columns, rows] of a row-major matrix [rows, columns]. */
export function transposed<T extends Values>(values: T, rows: number, columns: number): T {
  const result = values.slice() as T
  // In tiles, for the caches.
  const tile = 32
  for (let row = 0; row < rows; row += tile) {
    for (let column = 0; column < columns; column += tile) {
      const [lastRow, lastColumn] = [Math.min(rows, row + tile), Math.min(columns, column + tile)]
      for (let r = row; r < lastRow; r++) {
        for (let c = column; c < lastColumn; c++) result[c * rows + r] = values[r * columns + c]!
      }
    }
  }
  return result
}
