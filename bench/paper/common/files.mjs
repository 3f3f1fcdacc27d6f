/** An experiment's rows on disk: made by the project's generators, or read from a named data set. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Returns `{train, test, …}` for one seed: the output of the experiment's generators, replaced by the files of a data set,
 * `train.jsonl` or `train.txt` and `test.jsonl` or `valid.txt`, in the named folder or the test assets.
 */
export async function filesOf(experiment, settings, { seed, folder, given }) {
  await mkdir(folder, { recursive: true })
  const files = {}
  for (const [name, rows] of Object.entries(experiment.rows(settings, seed))) {
    files[name] = join(folder, `${name}.jsonl`)
    await writeFile(files[name], rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  }
  const wanted = settings.data ?? experiment.data
  return wanted ? { ...files, ...dataSet(wanted, given) } : files
}

function dataSet(wanted, given) {
  const folder = given ?? (process.env.MORA_TEST_ASSETS && join(process.env.MORA_TEST_ASSETS, 'data', wanted))
  const found = (...names) => names.map((name) => join(folder ?? '', name)).find(existsSync)
  const [train, test] = [found('train.jsonl', 'train.txt'), found('test.jsonl', 'valid.txt')]
  if (folder && train && test) return { train, test, held: test, shots: train }
  throw new Error(
    `This experiment needs rows to train and to judge on: --data FOLDER with train.jsonl and test.jsonl, or train.txt and ` +
      `valid.txt${folder ? `; ${folder} has none` : ` (or MORA_TEST_ASSETS, whose data/${wanted} holds them)`}.`,
  )
}
