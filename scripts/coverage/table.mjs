/** The table for one kind of sources: folders, then the files with coverage below GOAL. */
import { dirname } from 'node:path'

const GOAL = 0.9

export function printFolders(title, files) {
  const folders = [...new Set(files.map(({ file }) => dirname(file)))].sort()
  console.log(`\n${title}\n`)
  const rows = folders.map((folder) =>
    row(
      folder,
      files.filter(({ file }) => dirname(file) === folder),
    ),
  )
  for (const line of ['| | lines | branches |', '|---|---|---|', ...rows, row('**all**', files)]) console.log(line)
  const low = files.filter(({ lines, branches }) => share(lines) < GOAL || share(branches) < GOAL)
  if (low.length > 0) console.log(`\nBelow ${100 * GOAL} %:`)
  for (const one of low.sort((a, b) => left(b) - left(a))) console.log(row(one.file, [one]))
}

function row(name, files) {
  const sum = (what) => {
    const [run, all] = ['run', 'all'].map((part) => files.reduce((total, file) => total + file[what][part], 0))
    return all === 0 ? '' : `${((100 * run) / all).toFixed(1)} % of ${all}`
  }
  return `| ${name} | ${sum('lines')} | ${sum('branches')} |`
}

const share = ({ all, run }) => (all === 0 ? 1 : run / all)
const left = ({ lines, branches }) => lines.all - lines.run + branches.all - branches.run
