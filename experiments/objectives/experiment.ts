/** What the experiments share: a score on questions that are not trained, before and after training. */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { loadModel, type Message, type Model, type Objective, type Reward, TextEngine, train } from 'node-mora'

/** A row: a conversation to answer, and what a reward needs. */
export interface Question {
  messages: Message[]
  [column: string]: unknown
}

export interface Experiment {
  name: string
  training: Question[]
  heldOut: Question[]
  /** How good an answer is, from 0 to 1. */
  score: Reward
  maxNewTokens: number
  objective(options: { maxNewTokens: number; groupSize: number }): Objective
  steps: number
  learningRate: number
}

const USAGE = `  --model M          default SmolLM2-135M-Instruct.Q4_1.gguf
  --output FOLDER    the adapter, curves and report.json; default out/NAME
  --steps N          optimizer steps
  --batch N          prompts of a step; default 8
  --group N          answers to each; default 8
  --learning-rate X  the peak rate
  --samples N        answers to each question that is measured; default 4`

/** Runs an experiment by the arguments of its command, if the module is what was started. */
export async function runExperiment(experiment: Experiment, module: string): Promise<void> {
  if (process.argv[1] === undefined || pathToFileURL(process.argv[1]).href !== module) return
  console.log(JSON.stringify(await measured(experiment, process.argv.slice(2)), null, 2))
}

/** Trains, and returns the report, which is also written. */
export async function measured(experiment: Experiment, args: readonly string[]): Promise<object> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 'SmolLM2-135M-Instruct.Q4_1.gguf' },
      output: { type: 'string', default: join('out', experiment.name) },
      steps: { type: 'string', default: String(experiment.steps) },
      batch: { type: 'string', default: '8' },
      group: { type: 'string', default: '8' },
      'learning-rate': { type: 'string', default: String(experiment.learningRate) },
      samples: { type: 'string', default: '4' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return { usage: USAGE.split('\n') }
  const { output } = values
  const samples = Number(values.samples)
  const start = performance.now()
  const minutes = () => Math.round((performance.now() - start) / 6000) / 10
  const model = await loadModel(values.model, { device: 'cpu', dtype: 'bfloat16', quantised: true })
  const before = await scoreOf(model, experiment, samples)
  console.error(`before: ${before}`)
  const run = train(model, {
    ...{ method: 'lora', rank: 16, learningRate: Number(values['learning-rate']), scheduler: 'constant' },
    objective: experiment.objective({ maxNewTokens: experiment.maxNewTokens, groupSize: Number(values.group) }),
    ...{ data: experiment.training, batchSize: Number(values.batch), maxSteps: Number(values.steps) },
    ...{ output, overwrite: true, evalData: experiment.heldOut, evalEvery: 20 },
  })
  const curve: { step: number; minutes: number; reward: number }[] = []
  for await (const event of run) {
    if (event.type === 'step')
      console.error(`${event.step} ${minutes()} min: reward ${event.metrics!.reward!.toFixed(3)}`)
    if (event.type !== 'evaluation') continue
    curve.push({ step: event.step, minutes: minutes(), reward: event.metrics!.reward! })
    console.error(`held out: ${event.metrics!.reward!.toFixed(3)}`)
  }
  const { steps } = await run.finished
  const report = {
    experiment: experiment.name,
    ...{ before, after: await scoreOf(model, experiment, samples), answers: samples * experiment.heldOut.length },
    ...{ steps, minutes: minutes(), processor: cpus()[0]?.model, cores: cpus().length, curve },
  }
  await mkdir(output, { recursive: true })
  await writeFile(join(output, 'report.json'), `${JSON.stringify(report, null, 2)}\n`)
  await model.dispose()
  return report
}

/** Returns the mean score of answers to the questions that are not trained, sampled at temperature 1 without constraints. */
async function scoreOf(model: Model, { heldOut, score, maxNewTokens }: Experiment, samples: number): Promise<number> {
  const engine = new TextEngine(model, { sequences: 32 })
  const asked = heldOut.flatMap((row) => Array.from({ length: samples }, (_, sample) => ({ row, sample })))
  const scores = await Promise.all(
    asked.map(async ({ row, sample }) => {
      const { text, ids, finishReason } = await engine.generate(
        { messages: row.messages, maxNewTokens, temperature: 1, seed: 1 },
        sample,
      )
      const prompt = String(row.messages.at(-1)!.content)
      const answer = { prompt, completion: text, row, messages: [{ role: 'assistant', content: text }], ids }
      return score({ ...answer, hasEnded: finishReason === 'stop', environment: undefined, signal: undefined })
    }),
  )
  await engine.close()
  return scores.reduce((sum, value) => sum + value, 0) / scores.length
}
