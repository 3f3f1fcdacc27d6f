/** What the experiments share: their options, and their reports. */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { loadModel, type Model } from 'node-mora'

const USAGE = `  --model M          default SmolLM2-135M-Instruct.Q4_1.gguf
  --output FOLDER    adapters, metrics and report.json; default out/NAME
  --steps N          optimizer steps
  --batch N          prompts of a step; default 8
  --group N          answers to each; default 8
  --learning-rate X  the rate of all steps`

/** The options of an experiment. */
export interface ExperimentOptions {
  model: Model
  output: string
  steps: number
  batch: number
  group: number
  learningRate: number
  /** Returns the minutes since the start. */
  minutes(): number
}

/** Reads the options of an experiment and loads its model. Ends the process after `--help`. */
export async function optionsOf(
  name: string,
  args: readonly string[],
  defaults: { steps: number; learningRate: number },
): Promise<ExperimentOptions> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 'SmolLM2-135M-Instruct.Q4_1.gguf' },
      output: { type: 'string', default: join('out', name) },
      steps: { type: 'string', default: String(defaults.steps) },
      batch: { type: 'string', default: '8' },
      group: { type: 'string', default: '8' },
      'learning-rate': { type: 'string', default: String(defaults.learningRate) },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(`experiments/objectives/${name}.ts [options]\n\n${USAGE}`)
    process.exit()
  }
  const start = performance.now()
  return {
    model: await loadModel(values.model, { device: 'cpu', dtype: 'bfloat16', quantised: true }),
    output: values.output,
    steps: Number(values.steps),
    batch: Number(values.batch),
    group: Number(values.group),
    learningRate: Number(values['learning-rate']),
    minutes: () => Math.round((performance.now() - start) / 6000) / 10,
  }
}

/** Writes what an experiment found, with the machine, and returns it. */
export async function report(output: string, facts: object): Promise<object> {
  const all = { ...facts, processor: cpus()[0]?.model, cores: cpus().length }
  await mkdir(output, { recursive: true })
  await writeFile(join(output, 'report.json'), `${JSON.stringify(all, null, 2)}\n`)
  return all
}

/** Whether a module is the one that was started. */
export const isStarted = (module: string): boolean =>
  process.argv[1] !== undefined && pathToFileURL(process.argv[1]).href === module

/** Returns the mean. */
export const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
