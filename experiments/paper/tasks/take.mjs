/** The first `count` of an endless generator. */
export function take(rows, count) {
  return Array.from({ length: count }, () => rows.next().value)
}
