/** The predictions of bench/cuda-model.mjs, for comparison with the GPU check's measurements. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Writes predicted.json into a staged folder; does nothing without the emulator's backend, which traces launches. */
export function addPredictions(folder, addon) {
  if (!existsSync(join(dirname(addon), 'mora_cuda_emulated.so'))) {
    console.error('The report will have no predicted figures: "npm run build emulated" was not run.')
    return
  }
  const path = join(folder, 'predicted.json')
  const { status } = spawnSync(process.execPath, [join(folder, 'bench', 'cuda-model.mjs'), '--json', path], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, MORA_BINARY: addon },
  })
  if (status !== 0) throw new Error('bench/cuda-model.mjs failed.')
  // The lists of launches are long, and not compared.
  const lists = new Set(['phases', 'launches'])
  const short = JSON.parse(readFileSync(path, 'utf8'), (key, value) => (lists.has(key) ? undefined : value))
  writeFileSync(path, JSON.stringify(short))
}
