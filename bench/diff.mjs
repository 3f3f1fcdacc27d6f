// Compares what two runs of the benchmarks measured, line by line:
//   npm run bench diff -- BEFORE.json AFTER.json
import { readFileSync } from 'node:fs'
import { orUsageError } from './common/command-line.mjs'
import { differenceReport } from './common/difference.mjs'

const [before, after] = orUsageError(() => {
  const files = process.argv.slice(2)
  if (files.length !== 2) throw new Error('Expected two JSON files: npm run bench diff -- BEFORE.json AFTER.json')
  return files.map((file) => JSON.parse(readFileSync(file, 'utf8')))
})
console.log(differenceReport(before, after))
