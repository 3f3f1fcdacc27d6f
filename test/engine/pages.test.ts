import { expect, test } from 'vitest'
import { PAGE, PagePool, pageKey } from '../../lib/engine/pages.js'

test('a page is shared until the last use of it ends', () => {
  const pool = new PagePool(3)
  const page = pool.allocate()
  pool.register(page, 'a')
  expect(pool.acquire('a')).toBe(page)
  pool.release(page)
  expect(pool.available).toBe(2)
  pool.release(page)
  expect([pool.available, pool.used]).toEqual([3, 0])
  expect(pool.acquire('a'), 'still cached').toBe(page)
  expect(pool.acquire('b')).toBeUndefined()
})

test('cached pages without references are evicted, the least recently used first', () => {
  const pool = new PagePool(2)
  const pages = ['a', 'b'].map((key) => {
    const page = pool.allocate()
    pool.register(page, key)
    return page
  })
  for (const page of pages) pool.release(page)
  expect(pool.allocate()).toBe(pages[0])
  expect([pool.has('a'), pool.has('b')]).toEqual([false, true])
})

test('keys are those of the tokens and of all before them', () => {
  const ids = Array.from({ length: PAGE }, (_, i) => i)
  expect(pageKey('', ids)).toBe(pageKey('', [...ids]))
  expect(new Set([pageKey('', ids), pageKey('a', ids), pageKey('', ids.with(3, 7))]).size).toBe(3)
})
