/** Reads lines and branches of native/ from gcov's report on a build's objects. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'

/** For each file, how many lines and branches there are and how many have run. */
export async function linesOfNative(root, build) {
  const files = new Map()
  for (const name of readdirSync(build, { encoding: 'utf8', recursive: true })) {
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

/** gcov lists a line once for each template instance, each function that it was inlined into, and each object. */
function addLine(lines, { line_number: number, count, branches }) {
  const line = lines.get(number) ?? { hasRun: false, instances: [] }
  lines.set(number, line)
  line.hasRun ||= count > 0
  const taken = decisions(branches)
  if (taken.length > 0) line.instances.push(taken)
}

/** Whether each branch was taken. The two branches of a call that may throw are not decisions and are left out. */
function decisions(branches) {
  const taken = []
  for (let i = 0; i < branches.length; i++) {
    if (branches[i + 1]?.throw) i++
    else if (!branches[i].throw) taken.push(branches[i].count > 0)
  }
  return taken
}

/** The branches of a line are those of its simplest instance; others repeat the same ones. */
function branchesOf({ instances }) {
  const count = Math.min(...instances.map(({ length }) => length))
  if (instances.length === 0) return []
  return Array.from({ length: count }, (_, i) =>
    instances.some((taken) => taken.some((is, j) => is && j % count === i)),
  )
}

function counts(lines) {
  const branches = lines.flatMap(branchesOf)
  return {
    lines: { all: lines.length, run: lines.filter(({ hasRun }) => hasRun).length },
    branches: { all: branches.length, run: branches.filter(Boolean).length },
  }
}
