import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bundleModules } from '../../lib/dashboard/one-file.js'
import type { ReportData } from '../../lib/dashboard/payload.js'
import { writeReport } from '../../lib/dashboard/report.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { evaluationLine, stepLines, writeRun } from './run-folders.js'

const folder = useTemporaryFolder()

async function report(): Promise<string> {
  const output = join(folder(), 'reports', 'report.html')
  await writeReport({ folder: folder(), output })
  return readFileSync(output, 'utf8')
}

const dataOf = (html: string) =>
  JSON.parse(/<script type="application\/json" id="report-data">(.*?)<\/script>/s.exec(html)![1]!) as ReportData
const scriptsOf = (html: string) =>
  [...html.matchAll(/<script(?: type="module")?>(.*?)<\/script>/gs)].map(([, code]) => code!)

describe('a report', () => {
  it('holds the runs with their metrics, configuration and samples', async () => {
    const samples = [{ step: 0, prompt: 'p', text: 't' }]
    writeRun(folder(), 'one', { samples, metrics: [...stepLines(1, 9), evaluationLine(9, 2)] })
    writeRun(folder(), 'two')
    const { list, details, metrics, made } = dataOf(await report())
    expect(list.runs.map(({ id }) => id)).toEqual(['one', 'two'])
    expect(details.one).toMatchObject({ samples, facts: [{ name: 'method', value: 'mora' }, {}, {}] })
    expect(metrics.one).toMatchObject({ steps: { rows: 9 }, evaluations: { rows: 1 } })
    expect(Date.parse(made)).not.toBeNaN()
  })

  it('contains no characters of a run that reverse a line, and is written whatever size a file has', async () => {
    const name = 'out\u202egpj.exe\u001b[2J'
    const run = writeRun(folder(), name, { options: { '\u202ekey': '\u009b31m' } })
    truncateSync(join(writeRun(folder(), 'large'), 'metrics.jsonl'), 20e9) // sparse
    const html = await report()
    const { list, details } = dataOf(html)
    expect(list.runs.map(({ id, name: shown }) => [id, shown])).toEqual([
      ['large', 'large'],
      [name, 'out\\u202egpj.exe\\u001b[2J'],
    ])
    expect(details[name]!.facts[0]).toEqual({ group: 'options', name: '\\u202ekey', value: '\\u009b31m' })
    expect(details.large!.problems).toEqual([expect.stringMatching(/^metrics\.jsonl has 20000000000 bytes/)])
    rmSync(run, { recursive: true })
  })

  it('names no file and no address beside itself, and allows none', async () => {
    writeRun(folder(), 'out')
    const html = await report()
    const references = [...html.matchAll(/\s(?:src|href)="([^"#][^"]*)"/g)].map(([, reference]) => reference!)
    expect(references.filter((reference) => !reference.startsWith('data:'))).toEqual([])
    const code = html.replace(/\/\*.*?\*\//gs, '')
    expect(/@import|url\(|\bimport ?\(|^import |\bfetch\((?!`)/m.exec(code)?.[0]).toBeUndefined()
    const policy = /<meta http-equiv="Content-Security-Policy" content="([^"]+)">/.exec(html)![1]!
    expect(policy).toMatch(/^default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src /)
    expect(policy).not.toContain('connect-src')
    const hashes = scriptsOf(html).map((code) => createHash('sha256').update(code).digest('base64'))
    expect(policy.match(/'sha256-[^']+'/g)).toEqual(hashes.map((hash) => `'sha256-${hash}'`))
  })

  it('cannot be changed by what a run says', async () => {
    const evil = '</script><script>alert(1)</script><!-- & \u2028 $& $1'
    writeRun(folder(), 'out', { options: { [evil]: evil }, samples: [{ step: 0, prompt: evil, text: evil }] })
    writeRun(folder(), '<img src=x onerror=alert(1)>')
    const html = await report()
    expect(html.match(/.alert\(1\)/g)?.filter((found) => found.startsWith('>'))).toEqual([])
    expect(html.includes('<img')).toBe(false)
    const { details, list } = dataOf(html)
    const shown = evil.replace('\u2028', '\\u2028')
    expect(details.out!.samples).toEqual([{ step: 0, prompt: shown, text: shown, rewards: '' }])
    expect(details.out!.facts[0]).toEqual({ group: 'options', name: shown, value: shown })
    expect(list.runs.map(({ name }) => name)).toContain('<img src=x onerror=alert(1)>')
  })

  it('has scripts that can be read', async () => {
    writeRun(folder(), 'out')
    for (const [i, code] of scriptsOf(await report()).entries()) {
      const path = join(folder(), `script-${i}.mjs`)
      writeFileSync(path, code)
      execFileSync(process.execPath, ['--check', path])
    }
  })

  it('does not reveal where the folder is', async () => {
    writeRun(folder(), 'out')
    expect((await report()).includes(folder())).toBe(false)
  })

  it('is written as a whole or not at all', async () => {
    writeRun(folder(), 'out')
    await report()
    expect(readdirSync(join(folder(), 'reports'))).toEqual(['report.html'])
    mkdirSync(join(folder(), 'in-the-way'))
    await expectRejection(
      writeReport({ folder: folder(), output: join(folder(), 'in-the-way') }),
      'not-a-file',
      /in-the-way is a folder/,
    )
  })

  it('needs a run', async () => {
    const output = join(folder(), 'report.html')
    await expectRejection(writeReport({ folder: folder(), output }), 'no-run', /holds no run/)
    expect(existsSync(output)).toBe(false)
  })

  it('of too many runs has the newest, and says how many it left out', async () => {
    for (let i = 0; i < 53; i++) writeRun(folder(), `run-${i}`, { metrics: stepLines(1, 1) })
    const output = join(folder(), 'report.html')
    expect(await writeReport({ folder: folder(), output })).toMatchObject({ runs: 50, leftOut: 3 })
  })
})

describe('modules as one', () => {
  const bundle = (codes: Record<string, string>) => bundleModules('main.js', (name) => codes[name]!)
  const run = (code: string) => new Function(`return (async () => {\n${code}\nreturn modules\n})()`)()

  it('are called in order, each with names of its own', async () => {
    const code = bundle({
      'main.js':
        "import { two } from './b.js'\nimport { one } from './a.js'\nconst own = await two()\nexport class Main {\n  sum = one + own\n}",
      'b.js': "import { one } from './a.js'\nexport function two() {\n  return one + 1\n}",
      'a.js': 'const own = 1\nexport const one = own',
    })
    const modules = await run(code)
    expect(Object.keys(modules)).toEqual(['a.js', 'b.js', 'main.js'])
    expect(new modules['main.js'].Main().sum).toBe(3)
  })

  it('of other forms are refused, and those that import themselves', () => {
    expect(() => bundle({ 'main.js': 'export default 1' })).toThrow(/main\.js has an import or export/)
    expect(() => bundle({ 'main.js': "import x from 'y'" })).toThrow(/main\.js has an import or export/)
    const circle = { 'main.js': "import { b } from './b.js'", 'b.js': "import { main } from './main.js'" }
    expect(() => bundle(circle)).toThrow('main.js imports itself through others.')
  })
})
