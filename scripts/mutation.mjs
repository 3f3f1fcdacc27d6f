/**
 * Mutation testing of the most important code: loss masks, packing, schedules, and the plan of MoRA's products. Changes one
 * place of a file at a time, runs the file's tests, and lists the changes that no test has noticed. The files themselves stay
 * unchanged. Stryker does this for TypeScript; of C++ it changes tokens (an operator, a border, a constant).
 *
 *   npm run check mutation                     all files
 *   npm run check mutation -- schedule windows those whose path contains one of these
 */
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { equivalents } from './mutation/equivalents.mjs'
import { judge } from './mutation/judge.mjs'
import { programMutants } from './mutation/programs.mjs'
import { cpp, typescript } from './mutation/subjects.mjs'
import { typescriptMutants } from './mutation/typescript.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const wanted = process.argv.slice(2)
const isChosen = ({ file }) => wanted.length === 0 || wanted.some((part) => file.includes(part))

const files = typescript.filter(isChosen).map(({ file }) => file)
const mutants = files.length > 0 ? await typescriptMutants(root, files) : []
mutants.push(...programMutants(root, cpp.filter(isChosen)))

const { table, notes, passes } = judge(mutants, equivalents)
for (const note of notes) console.log(note)
console.table(table)
process.exitCode = passes ? 0 : 1
