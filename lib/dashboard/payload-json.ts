import { printable } from '../common/printable.js'

/** Serialises data for the page: texts of runs are made printable, except ids, which requests must repeat exactly. */
export function payloadJson(payload: object): string {
  const shown = (key: string, value: unknown) => (typeof value === 'string' && key !== 'id' ? printable(value) : value)
  return printable(JSON.stringify(payload, shown))
}
