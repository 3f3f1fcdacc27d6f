// Predicts, without any hardware, how well training scales with ranks: a 7B and a 70B base on networks of 10, 100 and 400 Gb/s,
// with every weight on each rank and with 1/N of each (--shard base):
//   node bench/ranks/simulation.mjs [--tflops 400] [--latency 20] [--plot FOLDER] [--json FILE]
// bench/ranks.mjs compares the same model (step-model.mjs) with what it measures.
import { orUsageError, parseOptions } from '../common/command-line.mjs'
import { keep } from '../common/keep.mjs'
import { list, positive, someOf, whole } from '../common/options.mjs'
import { bases } from './bases.mjs'
import { defaults, predictionsOf, tablesOf, writePlots } from './predictions.mjs'

const usage = `node bench/ranks/simulation.mjs [options]: predicted efficiency of training on 2 and more ranks.

  --bases LIST     out of ${Object.keys(bases).join(', ')}; default all
  --gigabits LIST  of each rank's link, default ${defaults.gigabits}
  --latency N      microseconds of a message, with all that is done for it; default ${defaults.latency}
  --tflops N       what a rank computes in a second, default ${defaults.tflops}
  --rows N         documents of a rank's step, default ${defaults.rows}; --length N: tokens of each, default ${defaults.length}
  --rank N         of the adapter, default ${defaults.rank}
  --bits N         of a stored weight, which --shard base sends; default ${defaults.bits}
  --most N         ranks, default ${defaults.most}
  --plot FOLDER    an SVG of each base
  --json FILE      also write everything as JSON`

const { settings, plot, json } = orUsageError(read)
const predictions = predictionsOf(settings)
console.log(tablesOf(settings, predictions))
if (plot) writePlots(plot, settings, predictions)
keep(json, { benchmark: 'simulation', settings, predictions })

function read() {
  const text = /** @type {const} */ ({ type: 'string' })
  const known = { ...Object.fromEntries(Object.keys(defaults).map((name) => [name, text])), plot: text, json: text }
  const { values } = parseOptions(usage, known, { allowPositionals: false })
  const given = (name) => String(values[name] ?? defaults[name])
  return {
    settings: {
      bases: someOf('bases', given('bases'), Object.keys(bases)),
      gigabits: list(given('gigabits')).map((one) => positive('gigabits', one)),
      latency: positive('latency', given('latency')),
      tflops: positive('tflops', given('tflops')),
      bits: positive('bits', given('bits')),
      rows: whole('rows', given('rows'), 1),
      length: whole('length', given('length'), 1),
      rank: whole('rank', given('rank'), 1),
      most: whole('most', given('most'), 2),
    },
    plot: values.plot,
    json: values.json,
  }
}
