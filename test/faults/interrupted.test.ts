/** A run that is stopped from outside, and two runs in one folder. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { drawn } from '../drawn.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { resultOf, start, trainInto } from './command.js'

const at = useTemporaryFolder()

/** Longer than a signal takes to arrive. */
const STEPS = 150
const long = (output: string, ...more: string[]) => trainInto(output, '--max-steps', String(STEPS), ...more)
const firstStep = /step 1\//

const demo = resolve('assets/demo-model')

/** Clock ticks of the processor's time, of a hundred a second: starting and reading a small tokenizer takes less. */
const AT_WORK = 70

/** Waits until a process's template renderer is at work. */
async function renderingOf(pid: number): Promise<void> {
  const read = (path: string) => readFileSync(`/proc/${path}`, 'utf8')
  for (;;) {
    const children = read(`${pid}/task/${pid}/children`).trim().split(' ').filter(Boolean)
    const isolated = children.find((child) => read(`${child}/cmdline`).includes('isolated/process'))
    if (isolated && Number(read(`${isolated}/stat`).split(') ')[1]!.split(' ')[11]) > AT_WORK) return
    await setTimeout(20)
  }
}

needing(lacksBuild).describe('a run that is stopped', { timeout: 300_000 }, () => {
  const whole = mkdtempSync(join(tmpdir(), 'mora-whole-'))
  beforeAll(async () => {
    expect((await start(long(whole)).ended).code).toBe(0)
  })
  afterAll(() => rmSync(whole, { recursive: true }))

  it.each(drawn('signals', ['SIGINT', 'SIGTERM'] as const, 1))(
    'by %s ends with 130 and its state saved, and goes on later',
    async (signal) => {
      const output = join(at(), 'stopped')
      const stopped = start(long(output, '--json'))
      await stopped.until(firstStep)
      stopped.kill(signal)
      const { code, stdout, stderr } = await stopped.ended
      expect(code, stderr).toBe(130)
      const { steps } = JSON.parse(stdout) as { steps: number }
      expect(steps).toBeLessThan(STEPS)
      expect(resultOf(output).steps).toEqual(resultOf(whole).steps.slice(0, steps))
      expect(existsSync(join(output, 'checkpoints', `step-${String(steps).padStart(6, '0')}`, 'manifest.json'))).toBe(
        true,
      )
      expect(existsSync(join(output, '.lock'))).toBe(false)
      expect((await start(long(output, '--resume')).ended).code).toBe(0)
      expect(resultOf(output)).toEqual(resultOf(whole))
    },
  )

  const templates: [string, string][] = [
    ['that is slow', '{% for i in range(99999) %}{% for j in range(20) %}{% endfor %}{% endfor %}'],
    ['inside an operation of JavaScript', "{% set p = 'a' * 400000 %}{{ (p ~ 'b' ~ p) in p * 8 }}"],
  ]
  it.each(drawn('templates that are rendered', templates, 1))(
    'amid a template %s ends with 130 and nothing written',
    async (_, source) => {
      const [template, rows] = [join(at(), 'slow.jinja'), join(at(), 'rows.jsonl')]
      writeFileSync(template, `${source}{% for m in messages %}${'<|im_start|>{{ m.content }}<|im_end|>'}{% endfor %}`)
      writeFileSync(rows, `${JSON.stringify({ prompt: 'a', completion: 'b' })}\n`.repeat(500))
      const output = join(at(), 'out')
      const argv = ['train', '--model', demo, '--data', rows, '--template', template, '--output', output, '--json']
      const run = start(argv)
      await renderingOf(run.pid)
      run.kill('SIGTERM')
      const { code, stdout, stderr } = await run.ended
      expect(code, stderr).toBe(130)
      expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'stopped' } })
      expect(existsSync(output)).toBe(false)
    },
  )

  it('by a second signal ends at once', async () => {
    const run = start(long(join(at(), 'out')))
    await run.until(firstStep)
    run.kill('SIGINT')
    await run.until(/stopping/)
    run.kill('SIGINT')
    expect((await run.ended).code).toBe(130)
  })
})

needing(lacksBuild).describe('two processes on one output folder', { timeout: 300_000 }, () => {
  it('the second is refused, until the first is dead', async () => {
    const output = join(at(), 'out')
    const first = start(long(output))
    await first.until(firstStep)
    const second = await start(long(output, '--resume')).ended
    expect(second.code, second.stderr).toBe(2)
    expect(second.stderr).toMatch(/out is being written by process \d+, which still runs/)
    first.kill('SIGKILL')
    expect((await first.ended).signal).toBe('SIGKILL')
    const third = await start(trainInto(output, '--resume', '--allow-changes', 'maxSteps')).ended
    expect(third.code, third.stderr).toBe(0)
    expect(existsSync(join(output, '.lock'))).toBe(false)
  })
})
