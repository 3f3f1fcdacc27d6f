import { expect, test } from 'vitest'
import { PAGE, PagePool, pageKey } from '../../lib/engine/pages.js'

test('a page is shared until the last use of it ends', () => {
  const pool = new PagePool(3)
  const page = pool.take()
  pool.know(page, 'a')
  expect(pool.share('a')).toBe(page)
  pool.release(page)
  expect(pool.available).toBe(2)
  pool.release(page)
  expect([pool.available, pool.used]).toEqual([3, 0])
  expect(pool.share('a'), 'known still').toBe(page)
  expect(pool.share('b')).toBeUndefined()
})

test('known pages that nobody uses give way, the oldest first', () => {
  const pool = new PagePool(2)
  const pages = ['a', 'b'].map((key) => {
    const page = pool.take()
    pool.know(page, key)
    return page
  })
  for (const page of pages) pool.release(page)
  expect(pool.take()).toBe(pages[0])
  expect([pool.knows('a'), pool.knows('b')]).toEqual([false, true])
})

test('keys are those of the tokens and of all before them', () => {
  const ids = Array.from({ length: PAGE }, (_, i) => i)
  expect(pageKey('', ids)).toBe(pageKey('', [...ids]))
  expect(new Set([pageKey('', ids), pageKey('a', ids), pageKey('', ids.with(3, 7))]).size).toBe(3)
})
