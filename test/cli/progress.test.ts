import { describe, expect, it } from 'vitest'
import { Progress, StepLine, tokenisingLine } from '../../lib/cli/terminal/progress.js'
import { testTerminal } from './terminal.js'

function clocked(options: { isTTY: boolean; columns?: number; quiet?: boolean }) {
  const clock = { time: 0 }
  const terminal = testTerminal(options)
  const progress = new Progress(terminal.stderr, { quiet: options.quiet ?? false, now: () => clock.time })
  return { clock, progress, text: () => terminal.written.stderr }
}

describe('progress', () => {
  it('of rows that are tokenised begins after a second, with the part of the bytes where it is known', () => {
    const { clock, progress, text } = clocked({ isTTY: false })
    const show = tokenisingLine(progress, () => clock.time)
    show({ rows: 256, tokens: 4000, share: 0.1 })
    expect(text()).toBe('')
    clock.time = 1000
    show({ rows: 2560, tokens: 40_000, share: 0.456 })
    clock.time = 11_000
    show({ rows: 9999, tokens: 90_000 })
    expect(text()).toBe('tokenised 2,560 rows  40,000 tokens  45 %\ntokenised 9,999 rows  90,000 tokens\n')
  })

  it('is one line that changes on a terminal', () => {
    const { clock, progress, text } = clocked({ isTTY: true, columns: 10 })
    progress.show('step 1 of very many')
    clock.time = 50
    progress.show('step 2')
    clock.time = 150
    progress.show('step 3')
    progress.show('step 4')
    progress.end()
    expect(text()).toBe('\r\u001b[Kstep 1 of\r\u001b[Kstep 3\r\u001b[Kstep 4\n')
  })

  it('makes room for lines that stay', () => {
    const { progress, text } = clocked({ isTTY: true })
    progress.show('step 1')
    progress.note('a notice')
    progress.end()
    expect(text()).toBe('\r\u001b[Kstep 1\r\u001b[Ka notice\n')
  })

  it('is a plain line now and then elsewhere', () => {
    const { clock, progress, text } = clocked({ isTTY: false })
    progress.show('step 1')
    clock.time = 9_999
    progress.show('step 2')
    clock.time = 10_000
    progress.show('step 3')
    progress.show('step 4', true)
    progress.end()
    expect(text()).toBe('step 1\nstep 3\nstep 4\n')
  })

  it('escapes control characters in names that it shows', () => {
    const { progress, text } = clocked({ isTTY: true, columns: 40 })
    progress.show('a\u001b[2J\rb\u009b')
    progress.note(`${'x'.repeat(5000)}\u202e\ny`)
    const [, line, note] = text().split('\r\u001b[K')
    expect(line).toBe('a\\u001b[2J\\u000db\\u009b')
    expect(note).toMatch(/^x+…x+\\u202e y\n$/)
    expect(text().length).toBeLessThan(2100)
  })

  it('is silent when quiet', () => {
    const { progress, text } = clocked({ isTTY: true, quiet: true })
    progress.show('step 1', true)
    progress.note('a notice')
    progress.end()
    expect(text()).toBe('')
  })
})

describe('the line of a step', () => {
  it('has step, loss, speed, memory and, from the second on, the time left', () => {
    let time = 0
    const line = new StepLine(() => time)
    const figures = { totalSteps: 101, tokensPerSecond: 12_345.6, memoryBytes: 512 * 2 ** 20 }
    expect(line.format({ ...figures, step: 1, loss: 1.23456 })).toBe(
      'step 1/101  loss 1.2346  12,346 tokens/s  512 MiB',
    )
    time = 2_000
    expect(line.format({ ...figures, step: 2, loss: 1 })).toBe(
      'step 2/101  loss 1.0000  12,346 tokens/s  512 MiB  3m18s left',
    )
  })
  it('has the course of the loss beside it, where the terminal has room for one', () => {
    const figures = { totalSteps: 100, tokensPerSecond: 10, memoryBytes: 0 }
    const lineAt = (columns: number) => {
      const line = new StepLine(() => 0)
      for (const [i, loss] of [8, 4, 3].entries()) line.format({ ...figures, step: i + 1, loss }, columns)
      return line.format({ ...figures, step: 4, loss: 1 }, columns)
    }
    const plain = lineAt(0)
    expect(plain).toBe('step 4/100  loss 1.0000  10 tokens/s  0 B  0s left')
    expect(lineAt(80)).toBe(`${plain}  █▄▃▁`)
    expect(lineAt(plain.length + 6)).toBe(plain)
    expect(lineAt(plain.length + 7)).toBe(`${plain}  █▄▃▁`)
  })
})
