import { describe, expect, it } from 'vitest'
import { canonicalNumber, expectedAnswer, extractAnswer, isSameAnswer } from '../../lib/tasks/answers.js'

describe('extractAnswer', () => {
  it('takes the text after the last ####, on its line', () => {
    expect(extractAnswer('2 + 2 = 4\n#### 4')).toBe('4')
    expect(extractAnswer('#### 3\nNo:\n#### 4 \nThat is all.')).toBe('4')
    expect(extractAnswer('####\n 1,234.')).toBe('1,234.')
  })

  it('otherwise takes the content of the last \\boxed{}, including inner braces', () => {
    expect(extractAnswer('so \\boxed{3} or rather $\\boxed{\\frac{1}{2}}$.')).toBe('\\frac{1}{2}')
    expect(extractAnswer('#### $\\boxed{5}$')).toBe('5')
  })

  it('otherwise takes the rest of the sentence after the last "The answer is"', () => {
    expect(extractAnswer('So 18 are left. The answer is: 18')).toBe('18')
    expect(extractAnswer('The answer is 4. No: the final answer is $5.50. That is all.')).toBe('$5.50')
    expect(extractAnswer('The answer is: $\\frac{1}{2}$.')).toBe('\\frac{1}{2}')
    expect(extractAnswer('\\boxed{3}. The answer is: 4')).toBe('3')
  })

  it('finds none in other text', () => {
    expect(extractAnswer('So it is 4.')).toBeNull()
    expect(extractAnswer('The answer is')).toBeNull()
    expect(extractAnswer('\\boxed{4')).toBeNull()
    expect(extractAnswer('\\boxed 4')).toBeNull()
  })

  it('takes a worked solution for its answer', () => {
    expect(expectedAnswer('3 * 5 = 15\n#### 15')).toBe('15')
    expect(expectedAnswer(' 15 ')).toBe('15')
    expect(expectedAnswer('7 (blue balls)')).toBe('7')
  })
})

describe('isSameAnswer', () => {
  it.each([
    ['1,234', '1234'],
    ['$1,234.50', '1234.5'],
    ['\\$15', '15'],
    ['-$5', '-5'],
    ['40%', '40'],
    ['40\\%', '40'],
    ['15.', '15'],
    ['15.00', '15'],
    ['.5', '0.50'],
    ['+3', '3'],
    ['-0', '0'],
    ['007', '7'],
    ['€ 12', '12'],
    ['1e3', '1000'],
    ['15 apples', '15'],
    ['15 apples.', '15'],
  ])('%s is the number %s', (given, expected) => {
    expect(isSameAnswer(given, expected)).toBe(true)
  })

  it.each([
    ['15', '16'],
    ['15', '-15'],
    ['1,23', '123'],
    ['15 or 16', '16'],
    ['15 or 16', '15'],
    ['', '0'],
    ['fifteen', '15'],
    ['9007199254740993', '9007199254740992'],
  ])('%s is not the number %s', (given, expected) => {
    expect(isSameAnswer(given, expected)).toBe(false)
  })

  it('compares other answers as text', () => {
    expect(isSameAnswer('New  York. ', 'New York')).toBe(true)
    expect(isSameAnswer('new york', 'New York')).toBe(false)
    expect(canonicalNumber('12 or 13')).toBeNull()
  })
})
