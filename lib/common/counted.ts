/** Returns a number with its noun: `1 row`, `2 rows`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** Returns the form of `be` in the past that fits a number. */
export const were = (count: number): string => (count === 1 ? 'was' : 'were')
