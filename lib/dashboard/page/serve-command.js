/** The command of a server for runs. */
import { quoted } from './code.js'
import { optionOf } from './options.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */

/** Longest name of a model. */
const LONGEST_NAME = 128

/**
 * Returns the command that serves the first servable run and other runs of the same base; null if there is none.
 * @param {readonly ShownRun[]} runs
 * @param {string} folder that the ids of runs are relative to
 * @returns {{ command: string, names: string[] } | null}
 */
export function serveCommand(runs, folder) {
  const first = runs.find(({ details }) => details?.serves)
  if (!first) return null
  const outputOf = (/** @type {ShownRun} */ { summary: { id } }) => (id === '.' ? folder : `${folder}/${id}`)
  const isWhole = first.details?.serves === 'model'
  const base = isWhole ? `${outputOf(first)}/model` : optionOf(first, 'model')
  const served = runs.filter((run) => run.details?.serves === 'adapter' && optionOf(run, 'model') === base)
  const adapters = served.map((run) => ({ name: nameOf(run), output: outputOf(run) }))
  const words = [
    'mora',
    'serve',
    '--model',
    base ?? '',
    ...adapters.flatMap(({ name, output }) => ['--adapter', `${name}=${output}`]),
  ]
  const names = adapters.map(({ name }) => name)
  // A terminal may act on control characters, and the server refuses two models of one name.
  if (!base || /\p{Cc}/u.test(words.join('')) || new Set(names).size < names.length) return null
  return { command: words.map(quoted).join(' '), names }
}

/** Returns a name that clients can request. @param {ShownRun} run */
function nameOf({ summary: { name } }) {
  return (
    name
      .replace(/[^\w./-]+/g, '-')
      .slice(-LONGEST_NAME)
      .replace(/^[./]+/, '') || 'run'
  )
}
