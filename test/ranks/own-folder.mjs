/** Gives each rank a working folder of its own, as on machines that share no disk. */
import { mkdirSync } from 'node:fs'

const rank = process.env.OMPI_COMM_WORLD_RANK ?? process.env.PMI_RANK ?? process.env.RANK
if (rank !== undefined) {
  const folder = `${process.env.MORA_TEST_FOLDERS}/rank-${rank}`
  mkdirSync(folder, { recursive: true })
  process.chdir(folder)
}
