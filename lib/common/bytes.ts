const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** Formats a size, in memory, files or transfers, in powers of 1024 with three digits: `968 MiB`, `1.41 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${value < 100 ? Number(value.toPrecision(3)) : Math.round(value)} ${UNITS[unit]}`
}
