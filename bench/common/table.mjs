/** Formats rows as aligned columns; a column whose cells are all numbers or `-` is aligned right. */
export function table(header, rows) {
  const cells = [header, ...rows].map((row) => row.map(String))
  const widths = header.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  const numeric = header.map((_, column) => cells.slice(1).every((row) => /^[-+\d.,%× –]*$/.test(row[column])))
  const line = (row) =>
    row
      .map((cell, column) => (numeric[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join('  ')
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].map((row) => row.trimEnd()).join('\n')
}

export const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(0)
