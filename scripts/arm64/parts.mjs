/** Parts of the arm64 check that try the build. Each returns a summary, and throws if it failed. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { addon, inRoot, node, run, sysroot } from './machine.mjs'

/** A processor with every extension, and one of the first, without instructions for bfloat16, float16 and 8 bits. */
export const processors = { newest: 'max', oldest: 'cortex-a72' }

export function doctorSeesADevice() {
  const text = run(node, [inRoot('dist', 'cli', 'main.js'), 'doctor', '--json'], { MORA_BINARY: addon })
  const { cpu, devices, libraries, problems } = JSON.parse(text)
  const isWell =
    cpu.architecture === 'arm64' && devices[0]?.kind === 'cpu' && problems.every(({ level }) => level !== 'error')
  if (!isWell) throw new Error(`it says ${text}`)
  const versions = libraries.map(({ name, version }) => `${name} ${version}`)
  return [`cpu:0 ${devices[0].detail}`, ...versions, cpu.features.join(' ')].join(', ')
}

/** Runs the tests of a file or folder whose names match a pattern, on a processor that qemu emulates. */
export const tests = (files, processor, pattern) => () => {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-arm64-'))
  const report = join(scratch, 'report.json')
  const configuration = ['--root', inRoot(), '--config', inRoot('scripts', 'arm64', 'vitest.config.mjs')]
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const vitest = [inRoot('node_modules', 'vitest', 'vitest.mjs'), 'run', ...configuration, '--project', 'cpu']
  try {
    const chosen = pattern ? ['--testNamePattern', pattern, files] : [files]
    run(process.execPath, [...vitest, ...reporters, ...chosen], { MORA_BINARY: addon, QEMU_CPU: processor })
    const { numPassedTests, numPendingTests } = JSON.parse(readFileSync(report, 'utf8'))
    if (numPassedTests === 0) throw new Error('no test ran')
    return `${numPassedTests} passed, ${numPendingTests} ${pattern ? 'not chosen' : 'skipped'}, on ${processor}`
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Runs the C++ tests except those of the CUDA backend. */
export const nativeTests = (processor) => () => {
  const names = readdirSync(inRoot('test', 'native'))
    .filter((file) => file.endsWith('.cpp'))
    .map((file) => basename(file, '.cpp'))
  const folder = inRoot('build-arm64', 'cmake', 'Release')
  run('cmake', ['--build', folder, '--parallel', process.env.MORA_JOBS ?? '2', '--target', ...names])
  for (const name of names) run('qemu-aarch64', ['-L', sysroot, join(folder, name)], { QEMU_CPU: processor })
  return `${names.length} passed, on ${processor}`
}
