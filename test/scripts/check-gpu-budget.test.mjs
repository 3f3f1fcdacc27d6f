/** The time budget of the GPU check, and the results of parts that are cut short. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Budget, inTurn, statusOf } from '../../scripts/check-gpu/budget.mjs'
import { folder as checkFolder, runScript } from '../../scripts/check-gpu/child.mjs'
import { Report } from '../../scripts/check-gpu/report.mjs'

const folder = mkdtempSync(join(tmpdir(), 'mora-budget-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('a budget', () => {
  test('without a limit is never spent', () => {
    const budget = new Budget(Number.POSITIVE_INFINITY)
    expect([budget.secondsLeft, budget.share(budget.secondsLeft / 2).spent]).toEqual([Number.POSITIVE_INFINITY, false])
  })

  test('gives shares that are no longer than itself, and ends with them', () => {
    const budget = new Budget(100)
    const share = budget.share(1000)
    expect(share.secondsLeft).toBeGreaterThan(0)
    expect(share.secondsLeft).toBeLessThanOrEqual(100)
    expect(budget.share(1).secondsLeft).toBeLessThanOrEqual(1)
    budget.end()
    expect([share.spent, budget.spent]).toEqual([true, true])
  })
})

describe('items in turn', () => {
  test('are noted as they come, and left out once the time is spent', async () => {
    const budget = new Budget(100)
    const noted = []
    const limits = { budget, note: (results) => noted.push(results) }
    const { results, leftOut } = await inTurn(['a', 'b', 'c'], limits, async (item, note) => {
      note(`half ${item}`)
      if (item === 'b') budget.end()
      return item
    })
    expect([results, leftOut]).toEqual([['a', 'b'], ['c']])
    expect(noted).toEqual([['half a'], ['a'], ['a', 'half b'], ['a', 'b']])
  })

  test('get equal shares of the time that is left if they should', async () => {
    const seconds = []
    const limits = { budget: new Budget(90), note: () => {}, fair: true }
    await inTurn([1, 2, 3], limits, async (_, __, budget) => seconds.push(Math.round(budget.secondsLeft)))
    expect(seconds).toEqual([30, 45, 90])
  })

  test('with a failure among them count as failed, whatever else they have', () => {
    expect(statusOf([{ status: 'passed' }, { status: 'skipped' }])).toBe('passed')
    expect(statusOf([{ status: 'passed' }], ['b'])).toBe('cut short')
    expect(statusOf([{ status: 'cut short' }, { status: 'passed' }])).toBe('cut short')
    expect(statusOf([{ status: 'cut short' }, { status: 'failed' }], ['b'])).toBe('failed')
  })
})

describe('a script that is cut short', () => {
  const script = join(folder, 'hangs.mjs')
  const child = join(folder, 'child')

  test('leaves its findings, and none of its own processes', { timeout: 60_000 }, async () => {
    const code = `
      import { spawn } from 'node:child_process'
      import { writeFileSync } from 'node:fs'
      const { pid } = spawn('sleep', ['600'])
      writeFileSync(${JSON.stringify(child)}, String(pid))
      writeFileSync(process.argv.at(-1), JSON.stringify({ found: 3 }))
      setInterval(() => {}, 1000)`
    writeFileSync(script, code)
    const budget = new Budget(600)
    const noted = []
    const note = (result) => {
      noted.push(result)
      budget.end()
    }
    const { status, ending, result } = await runScript(relative(checkFolder, script), [], { budget, note })
    expect([status, ending, result]).toEqual(['cut short', 'its time was over', { found: 3 }])
    expect(noted).toEqual([{ found: 3 }])
    // Its parent is gone, so it may be a zombie for a while; it runs no longer.
    const stat = `/proc/${readFileSync(child, 'utf8')}/stat`
    if (existsSync(stat)) expect(readFileSync(stat, 'utf8')).toMatch(/\) [ZX] /)
  })

  test('is distinguished from one that fails', async () => {
    writeFileSync(script, 'process.exit(3)')
    const budget = new Budget(600)
    const { status, ending, result } = await runScript(relative(checkFolder, script), [], { budget })
    expect([status, ending, result]).toEqual(['failed', 'ended with 3', null])
  })
})

test('a report is complete after each finding', () => {
  const path = join(folder, 'report.json')
  const report = new Report(path, { version: '1' })
  const read = () => JSON.parse(readFileSync(path, 'utf8'))
  report.set('tests', 1, { status: 'running', files: ['a'] })
  expect(read()).toEqual({ version: '1', parts: [{ name: 'tests', seconds: 1, status: 'running', files: ['a'] }] })
  report.set('tests', 2, { status: 'passed' })
  report.set('step', 3, { status: 'running' })
  expect(read().parts.map(({ name, status }) => [name, status])).toEqual([
    ['tests', 'passed'],
    ['step', 'running'],
  ])
})
