/** Ranks of one machine share its processors, unless their launcher binds each to its own. */
import { expect, test } from 'vitest'
import { neighboursOf, placeOfThisProcess } from '../../lib/ranks/connect-ranks.js'

const neighbours = (...places: readonly (readonly [machine: string, processors: string])[]) => {
  const all = places.map(([machine, processors]) => ({ machine, processors }))
  return places.map((_, rank) => Object.values(neighboursOf(rank, all)))
}

test.each<[string, readonly (readonly [string, string])[], number[][]]>([
  ['one alone', [['a', '0-3']], [[0, 1, 1]]],
  // biome-ignore format: a rank a line
  ['two that may run anywhere', [['a', '0-3'], ['a', '0-3']], [[0, 2, 2], [1, 2, 2]]],
  // biome-ignore format: a rank a line
  ['two that are bound', [['a', '0,2'], ['a', '1,3']], [[0, 2, 1], [1, 2, 1]]],
  // biome-ignore format: a rank a line
  ['two machines', [['a', '0-7'], ['b', '0-7'], ['a', '0-7']], [[0, 2, 2], [0, 1, 1], [1, 2, 2]]],
  // biome-ignore format: a rank a line
  ['sockets', [['a', '0-3'], ['a', '4-7'], ['a', '0-3'], ['a', '4-7']], [[0, 4, 2], [1, 4, 2], [2, 4, 2], [3, 4, 2]]],
  // biome-ignore format: a rank a line
  ['far processors', [['a', '8000-8191'], ['a', '8191']], [[0, 2, 2], [1, 2, 2]]],
])('%s', (_, places, expected) => {
  expect(neighbours(...places)).toEqual(expected)
})

test('this process has processors', () => {
  const own = placeOfThisProcess()
  expect(neighboursOf(1, [own, own])).toEqual({ localRank: 1, localSize: 2, sharing: 2 })
})
