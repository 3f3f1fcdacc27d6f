import { describe, expect, it } from 'vitest'
import { Sparkline } from '../../lib/cli/terminal/sparkline.js'

function drawn(values: Iterable<number>, cells = 8, room = cells): string {
  const line = new Sparkline(cells)
  for (const value of values) line.add(value)
  return line.draw(room)
}

describe('a sparkline', () => {
  it('reaches from the lowest value to the highest', () => {
    expect(drawn([1, 2, 3, 4, 5, 6, 7, 8])).toBe('▁▂▃▄▅▆▇█')
    expect(drawn([80, 40, 20, 10])).toBe('█▄▂▁')
  })

  it('is empty before it can show a course, and flat where there is none', () => {
    expect(drawn([])).toBe('')
    expect(drawn([3])).toBe('')
    expect(drawn([3, 3, 3])).toBe('▁▁▁')
  })

  it('draws a long course by means of neighbours, from its first value to its last', () => {
    const falling = Array.from({ length: 100_000 }, (_, i) => 100_000 - i)
    const line = drawn(falling)
    expect(line).toHaveLength(7)
    expect([...line]).toEqual([...line].sort().reverse())
    expect(line.at(0)).toBe('█')
    expect(line.at(-1)).toBe('▁')
  })

  it('is never wider than the given width', () => {
    for (let count = 2; count < 200; count++) {
      const values = Array.from({ length: count }, (_, i) => Math.sin(i))
      for (const room of [4, 5, 8, 30]) expect(drawn(values, 24, room).length).toBeLessThanOrEqual(room)
    }
  })

  it('leaves out values that are not numbers', () => {
    expect(drawn([2, Number.NaN, 1])).toBe('█ ▁')
  })
})
