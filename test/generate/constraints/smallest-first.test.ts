import { expect, it } from 'vitest'
import { SmallestFirst } from '../../../lib/common/task-limit.js'
import { grammarSize, MOST_OF_SMALL } from '../../../lib/generate/constraints/grammar-size.js'

it('the smallest that waits is next, and of equals the first', async () => {
  const lane = new SmallestFirst(2)
  const ended: string[] = []
  const run = (size: number, name: string) => lane.run(size, async () => void ended.push(name)).catch(() => {})
  const failing = lane.run(9, async () => Promise.reject(new Error('failed')))
  const all = [run(9, 'a'), run(9, 'b'), run(3, 'c'), run(9, 'd'), run(1, 'e'), run(3, 'f')]
  await expect(failing).rejects.toThrow('failed')
  await Promise.all(all)
  expect(ended).toEqual(['a', 'e', 'c', 'f', 'b', 'd'])
})

it.each([
  ['root ::= "a" [b-c] other # "comment" [x]\nother ::= "d"', 2.5],
  ['root ::= ([^a] "b"){2,5}', 5 * 16.5],
  ['root ::= (([^a]){3}){0,7} [a-z]*', 21 * 16 + 16],
])('the size of %s counts what is repeated', (grammar, size) => {
  expect(grammarSize(grammar)).toBe(size)
})

it('long bounded texts are large', () => {
  expect(grammarSize('root ::= "\\"" ([^"]){0,200} "\\""')).toBeGreaterThan(MOST_OF_SMALL)
  expect(grammarSize('root ::= "\\"" ([^"]){0,64} "\\""')).toBeLessThan(MOST_OF_SMALL)
})
