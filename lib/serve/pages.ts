/** OpenAI's lists, a page at a time. */
import { wrongField } from './fields.js'

interface PageOptions {
  /** Number of items of a page for which the client sets none, and maximum. */
  readonly usual: number
  readonly most: number
}

/**
 * Returns a page of a list: what follows the item `after`, at most `limit` items.
 * @throws ApiError 400 for a limit, or an id, that is none
 */
export function pageOf<Item extends { readonly id: string }>(
  items: readonly Item[],
  url: string,
  { usual, most }: PageOptions,
) {
  const query = new URL(url).searchParams
  const limit = Number(query.get('limit') ?? usual)
  if (!Number.isInteger(limit) || limit < 1 || limit > most) {
    throw wrongField('limit', `Expected a whole number from 1 to ${most} for limit but received ${query.get('limit')}.`)
  }
  const after = query.get('after')
  const found = after === null ? -1 : items.findIndex(({ id }) => id === after)
  if (after !== null && found < 0) throw wrongField('after', `The list has no item ${JSON.stringify(after)}.`)
  const data = items.slice(found + 1, found + 1 + limit)
  return {
    object: 'list',
    data,
    has_more: found + 1 + data.length < items.length,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  }
}
