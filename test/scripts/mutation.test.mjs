/** The evaluation of mutants (scripts/mutation.mjs); making and running them takes minutes. */
import { describe, expect, it } from 'vitest'
import { judge } from '../../scripts/mutation/judge.mjs'
import { mutantsOf } from '../../scripts/mutation/mutants.mjs'

describe('judge', () => {
  const mutant = (line, text, fate, file = 'a.ts') => ({ file, line, text, fate })

  it('counts what tests notice, and passes when that is all', () => {
    const found = judge([mutant(1, 'x', 'noticed'), mutant(2, 'y', 'endless'), mutant(3, 'z', 'noticed', 'b.ts')], {})
    expect(found).toEqual({
      table: [
        { file: 'a.ts', mutants: 2, noticed: 1, endless: 1, equivalent: 0, survived: 0 },
        { file: 'b.ts', mutants: 1, noticed: 1, endless: 0, equivalent: 0, survived: 0 },
      ],
      notes: ['a.ts:2: y (no end)'],
      passes: true,
    })
  })

  it('lists what no test notices, and fails', () => {
    const { table, notes, passes } = judge([mutant(7, 'return a - b', 'unnoticed')], {})
    expect(table).toMatchObject([{ mutants: 1, survived: 1 }])
    expect(notes).toEqual(['a.ts:7: return a - b'])
    expect(passes).toBe(false)
  })

  it('accepts equivalents of the same file only, and names those that are no longer equivalent', () => {
    const equivalents = { 'a.ts': ['<= length', 'max'], 'b.ts': ['<= length'] }
    const { table, notes, passes } = judge(
      [mutant(7, 'i <= length', 'unnoticed'), mutant(8, 'x', 'noticed')],
      equivalents,
    )
    expect(table).toMatchObject([{ equivalent: 1, survived: 0 }])
    expect(notes).toEqual(['a.ts: no mutant with "max" goes unnoticed; its entry can go'])
    expect(passes).toBe(true)
    expect(judge([mutant(7, 'i <= length', 'unnoticed', 'c.ts')], equivalents).passes).toBe(false)
  })

  it('fails if there was nothing to change', () => {
    expect(judge([], {}).passes).toBe(false)
  })
})

describe('mutants of C++', () => {
  const texts = (source) => mutantsOf(source).map(({ text }) => text)

  it('change one token each: operators, borders, constants, words', () => {
    expect(texts('return a + b;')).toEqual(['return a - b;'])
    expect(texts('if (i < n)')).toEqual(['if (i <= n)', 'if (i >= n)'])
    expect(texts('f(1)')).toEqual(['f(2)', 'f(0)'])
    expect(texts('f(0)')).toEqual(['f(1)'])
    expect(texts('max(a, b)')).toEqual(['min(a, b)'])
    expect(texts('if (!done)')).toEqual(['if (done)'])
  })

  it('leave texts, comments, directives and brackets of types alone', () => {
    expect(texts('#include <a1.h>\n// 1 + 2\nstd::span<const int> a = "x + 1";')).toEqual([])
  })

  it('say on which line they are', () => {
    const [first] = mutantsOf('// nothing\n  a = b;\n  return c * d;\n')
    expect(first).toEqual({ source: '// nothing\n  a = b;\n  return c / d;\n', line: 3, text: 'return c / d;' })
  })
})
