/**
 * Runs the commands of `npm run build`, `check`, `bench`, `docs` and `pack`, each of which has several parts:
 *
 *     npm run check                     the part "default"
 *     npm run check gpu -- --tiny       the part "gpu" with an argument
 *     npm run check help                all parts
 */
import { spawnSync } from 'node:child_process'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const tsc = 'node node_modules/typescript-7/bin/tsc'
const run = (group, part) => `node scripts/run.mjs ${group} ${part}`

/** The shell commands of each part, in order; arguments belong to the last one. */
const groups = {
  build: {
    default: ['the addon and the library', run('build', 'native'), run('build', 'lib')],
    native: ['the addon', 'node scripts/build-native.mjs'],
    lib: [
      'dist from lib',
      `${tsc} -p tsconfig.build.json`,
      'node scripts/option-types.mjs',
      'cp -R lib/dashboard/page dist/dashboard/',
      'cp -R lib/serve/page dist/serve/',
      'node scripts/commonjs-entry.mjs',
      'chmod +x dist/cli/main.js',
      'ln -sf ../../dist/cli/main.js node_modules/.bin/mora',
    ],
    emulated: [
      'the CUDA backend for the emulator',
      'bash scripts/setup.sh --emulated',
      'node scripts/build-native.mjs --emulated',
    ],
    older: ['the addon for older systems', 'node scripts/build-native.mjs --older'],
    windows: [
      'the addon for Windows x64, by MinGW',
      'bash scripts/windows/setup.sh',
      'node scripts/build-native.mjs --windows',
    ],
    macos: [
      'the addons for macOS, by zig',
      'bash scripts/macos/setup.sh',
      'node scripts/build-native.mjs --macos=arm64',
      'node scripts/build-native.mjs --macos=x64',
    ],
    cuda: ['the CUDA backend for all GPUs', 'node scripts/build-cuda.mjs'],
    'gpu-tests': [
      'the tests of kernels for a GPU',
      'cmake --build build/cmake/Release --parallel 2 --target gpu_kernel_tests',
    ],
    debug: ['the addon for a debugger', 'node scripts/build-native.mjs --debug'],
    asan: ['the addon with AddressSanitizer', 'node scripts/build-native.mjs --sanitize=address,undefined'],
    tsan: ['the addon with ThreadSanitizer', 'node scripts/build-native.mjs --sanitize=thread'],
  },
  check: {
    default: [
      'types, lint and format',
      `${tsc} --noEmit`,
      `${tsc} --noEmit -p tsconfig.page.json`,
      `${tsc} -p tsconfig.tools.json`,
      'biome check .',
      'bash scripts/check-format.sh',
    ],
    kernels: ["registers, memory and spills of the CUDA backend's kernels", 'node scripts/kernel-table.mjs'],
    toolkit: ['the CUDA backend against real toolkits', 'node scripts/check-toolkit.mjs'],
    gpu: ['results and speed on a GPU', 'node scripts/check-gpu.mjs'],
    systems: ['older and other Linux systems', 'node scripts/check-systems.mjs'],
    registry: ['the packages of a release on a bare system', 'node scripts/check-registry.mjs'],
    containers: ['the steps of the Dockerfiles on a bare system', 'node scripts/check-containers.mjs'],
    arm64: ['Linux arm64, by QEMU', 'bash scripts/prepare.sh', 'node scripts/check-arm64.mjs'],
    macos: ['macOS, without running it', 'bash scripts/prepare.sh', 'node scripts/check-macos.mjs'],
    windows: ['Windows x64, by MinGW and Wine', 'bash scripts/prepare.sh', 'node scripts/check-windows.mjs'],
    fit: ['the memory that mora fit says, and the memory that a run takes', 'node scripts/check-fit.mjs'],
    clients: ['the server by clients of others', 'bash scripts/prepare.sh', 'node scripts/check-clients.mjs'],
    'llama-cpp': ['exported files in llama.cpp', 'node scripts/check-llama-cpp.mjs'],
    mutation: ['whether tests notice changes of the code', 'node scripts/mutation.mjs'],
    coverage: [
      'lines that tests run',
      'bash scripts/prepare.sh --emulated --browser --ranks',
      'node scripts/coverage.mjs',
    ],
  },
  bench: {
    default: ['benchmarks by name', 'node bench/main.mjs'],
    diff: ['two results of "npm run bench -- --json"', 'node bench/diff.mjs'],
    train: ['training beside PyTorch and PEFT', 'node bench/train.mjs'],
    'cuda-model': ['predicted times on GPUs', 'node bench/cuda-model.mjs'],
  },
  docs: {
    default: ['the reference, from docstrings', run('build', 'lib'), run('docs', 'llms'), 'typedoc'],
    commands: ['the option tables of docs/commands', run('build', 'lib'), 'node scripts/docs-commands.mjs'],
    llms: ['llms.txt and llms-full.txt, from the pages', 'node scripts/docs-llms.mjs'],
  },
  pack: {
    default: [
      'the packages of a release: node-mora, and each platform whose addon was built',
      'npm run --silent prepack',
      'node scripts/build-native.mjs --older --if-needed',
      'node scripts/pack.mjs',
    ],
    gpu: ['the GPU check for a machine with nothing but a driver', 'node scripts/pack-gpu.mjs'],
    publish: ['publishes the packages of a release', 'node scripts/publish.mjs'],
  },
}

const [name, ...given] = process.argv.slice(2)
const group = groups[name]
const isPart = given[0] !== undefined && Object.hasOwn(group, given[0])
// Without a part, arguments belong to the default: names of benchmarks.
const takesAny = name === 'bench' || given.length === 0 || given[0].startsWith('-')
const asksForHelp = ['help', '--help', '-h'].includes(given[0])
const [, ...commands] = (isPart ? group[given[0]] : takesAny ? group.default : undefined) ?? []
if (asksForHelp || commands.length === 0) {
  const parts = Object.entries(group).map(([part, [summary]]) => `  ${part.padEnd(12)}${summary}`)
  console.error(`npm run ${name} [PART] [-- ARGUMENTS]\n${parts.join('\n')}`)
  process.exit(asksForHelp ? 0 : 2)
}

const quoted = (isPart ? given.slice(1) : given).map((argument) => `'${argument.replaceAll("'", "'\\''")}'`)
const PATH = [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter)
for (const [i, command] of commands.entries()) {
  const line = i === commands.length - 1 ? [command, ...quoted].join(' ') : command
  const { status } = spawnSync(line, { cwd: root, shell: true, stdio: 'inherit', env: { ...process.env, PATH } })
  if (status !== 0) process.exit(status ?? 1)
}
