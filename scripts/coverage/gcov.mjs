/** Lines and branches of native/ by what gcov says of the objects of a build. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'

/** For each file, how many lines and branches there are and how many have run. */
export async function linesOfNative(root, build) {
  const files = new Map()
  for (const name of readdirSync(build, { recursive: true })) {
    if (!name.endsWith('.gcno')) continue
    const { stdout } = await promisify(execFile)('gcov', ['--json-format', '--stdout', '-b', join(build, name)], {
      cwd: build,
      maxBuffer: 2 ** 30,
    })
    for (const text of stdout.trim().split('\n')) if (text) addObject(files, JSON.parse(text), root)
  }
  return [...files].map(([file, lines]) => ({ file, ...counts([...lines.values()]) }))
}

function addObject(files, { current_working_directory: from, files: found }, root) {
  for (const { file, lines } of found) {
    const path = relative(root, resolve(from, file))
    if (!path.startsWith('native/')) continue
    if (!files.has(path)) files.set(path, new Map())
    for (const line of lines) addLine(files.get(path), line)
  }
}

/** A line is there once for each instance of a template and each object: it has run where one of them has. */
function addLine(lines, { line_number: number, count, branches }) {
  const line = lines.get(number) ?? { hasRun: false, branches: [] }
  lines.set(number, line)
  line.hasRun ||= count > 0
  for (const [i, taken] of decisions(branches).entries()) line.branches[i] = line.branches[i] || taken
}

/** Whether each branch was taken. A call that may throw is no decision: it is left out, with its two ways. */
function decisions(branches) {
  const taken = []
  for (let i = 0; i < branches.length; i++) {
    if (branches[i + 1]?.throw) i++
    else if (!branches[i].throw) taken.push(branches[i].count > 0)
  }
  return taken
}

function counts(lines) {
  const branches = lines.flatMap((line) => line.branches)
  return {
    lines: { all: lines.length, run: lines.filter(({ hasRun }) => hasRun).length },
    branches: { all: branches.length, run: branches.filter(Boolean).length },
  }
}
