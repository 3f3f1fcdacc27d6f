import { printable } from '../common/printable.js'

/** What the page gets, as JSON: what runs say is printable, but their ids, which are asked for as they are. */
export function payloadJson(payload: object): string {
  const shown = (key: string, value: unknown) => (typeof value === 'string' && key !== 'id' ? printable(value) : value)
  return printable(JSON.stringify(payload, shown))
}
