import { expect, it } from 'vitest'
import { TokenMarks } from '../../../lib/text/masks/token-marks.js'

const marks = new TokenMarks([
  { text: '<ab>', isSpecial: true },
  { text: '<ab', isSpecial: false },
  { text: '<e>', isSpecial: true },
  { text: '', isSpecial: true },
])

it('marks are the longest tokens of a text, from left to right', () => {
  expect(marks.of('a<ab>b<abb<e><e>')).toEqual([
    { start: 1, end: 5, isSpecial: true },
    { start: 6, end: 9, isSpecial: false },
    { start: 10, end: 13, isSpecial: true },
    { start: 13, end: 16, isSpecial: true },
  ])
  expect(marks.of('<E><a')).toEqual([])
})

it('a mark with only space after it ends a text', () => {
  expect(marks.last('a<e> \n', { onlySpecial: true })?.end).toBe(4)
  expect(marks.last('a<e>b', { onlySpecial: true })?.end).toBeUndefined()
  expect(marks.last('a<e><ab', { onlySpecial: false })?.end).toBe(7)
  expect(marks.last('a<e><ab', { onlySpecial: true })?.end).toBeUndefined()
  expect(marks.last('a<e> <ab', { onlySpecial: true })?.end).toBeUndefined()
  expect(marks.last('a', { onlySpecial: false })?.end).toBeUndefined()
})

it('a special mark at a place is the longest one there', () => {
  expect(marks.specialAt('a<ab>', 1)).toEqual({ start: 1, end: 5 })
  expect(marks.specialAt('a<ab', 1)).toBeUndefined()
  expect(marks.specialAt('a<ab>', 0)).toBeUndefined()
  expect(marks.specialAt('', 0)).toBeUndefined()
})
