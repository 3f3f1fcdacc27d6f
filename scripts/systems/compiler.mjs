/** Builds with another compiler of this machine: expects no warnings and passing tests of the operations. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { folder, root, Skipped, Steps } from './steps.mjs'

export function tryCompiler(name, c, cxx) {
  const steps = new Steps(name)
  return steps.outcome(async () => {
    if (spawnSync(cxx, ['--version']).error)
      throw new Skipped(`there is no ${cxx} here (apt-get install ${cxx.replace('clang++', 'clang')})`)
    const into = join(folder, name)
    const env = {
      ...process.env,
      CC: c,
      CXX: cxx,
      MORA_BUILD_CUDA: 'OFF',
      MORA_BUILD_PROCESSORS: 'all',
      MORA_WARNINGS: 'error',
    }
    const built = await steps.run('build', ['node', join(root, 'scripts', 'build-native.mjs'), `--into=${into}`], {
      cwd: root,
      env,
    })
    steps.tell(`built without a warning in ${built.minutes} minutes`)
    const vitest = [
      'node',
      join(root, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      '--project',
      'cpu',
      'test/operations',
    ]
    const binary = { ...process.env, MORA_BINARY: join(into, 'Release', 'mora.node') }
    const tested = await steps.run('operations', vitest, { cwd: root, env: binary })
    steps.tell(`operations' tests in ${tested.minutes} minutes`)
  })
}
