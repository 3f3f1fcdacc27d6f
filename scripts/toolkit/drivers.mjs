/** Checks the messages when CUDA's libraries are real and the driver is absent, does not answer or is too old. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Drivers by name: the source of a libcuda.so.1; null is none. */
const sources = {
  'no driver': null,
  'a driver that answers nothing': 'int nothing;',
  'a driver for CUDA 11.4': `int cuInit(unsigned flags) { return flags != 0; }
int cuDriverGetVersion(int* version) { *version = 11040; return 0; }`,
}

const remedy = (needed) => new RegExp(`install NVIDIA's driver for CUDA ${needed} or newer`)
const absent = (needed) => [
  new RegExp(`there is no NVIDIA driver, or one that is older than CUDA ${needed} needs`),
  remedy(needed),
]
const tooOld = (needed) => [
  new RegExp(`the NVIDIA driver is too old: it serves CUDA 11\\.4 and this build needs ${needed}`),
  remedy(needed),
]

/**
 * One entry for each driver and command: what was tried, and null or what is wrong. `backends` are paths of libraries by
 * their names beside an addon; `needed` is the CUDA version that the sentence has to name.
 */
export function checkDrivers({ folder, addon, backends, needed }) {
  const beside = mkdtempSync(join(folder, 'beside-'))
  copyFileSync(addon, join(beside, 'mora.node')) // of a link, the target would be loaded, with the files beside it
  for (const [name, path] of Object.entries(backends)) symlinkSync(path, join(beside, name))
  const version = needed.replace('.', '\\.')
  return Object.entries(sources).flatMap(([driver, source]) => {
    const sentences = driver.endsWith('11.4') ? tooOld(version) : absent(version)
    const env = {
      ...process.env,
      MORA_BINARY: join(beside, 'mora.node'),
      LD_LIBRARY_PATH: source === null ? '' : libcuda(join(folder, driver.replaceAll(' ', '-')), source),
    }
    const say = (what, wrong) => [`${Object.keys(backends).join(' and ')}, ${driver}: ${what}`, wrong]
    return [
      say('mora doctor tells it', wrongOf(mora(['doctor'], env), 0, sentences)),
      say(
        '--device cuda is refused',
        wrongOf(mora(['generate', ...generation, '--device', 'cuda'], env), 2, sentences),
      ),
    ]
  })
}

const generation = ['--model', join(root, 'test', 'golden', 'tiny-untied', 'model'), '--prompt', 'x']

function mora(commandArguments, env) {
  return spawnSync(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...commandArguments], {
    encoding: 'utf8',
    env,
    timeout: 60_000,
  })
}

function wrongOf({ status, stdout, stderr }, expected, sentences) {
  // Sentences are wrapped to a terminal's width.
  const text = (stdout + stderr).replace(/\s+/g, ' ')
  if (status !== expected) return `it ended with ${status}, not ${expected}: ${text.trim()}`
  const unsaid = sentences.find((sentence) => !sentence.test(text))
  return unsaid ? `it did not say ${unsaid}: ${text.trim()}` : null
}

/** Makes a folder with a libcuda.so.1 compiled from that source. */
function libcuda(folder, source) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'libcuda.c'), source)
  const library = join(folder, 'libcuda.so.1')
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-o', library, join(folder, 'libcuda.c')])
  if (status !== 0) throw new Error('cc could not compile a stand-in for libcuda.')
  return folder
}
