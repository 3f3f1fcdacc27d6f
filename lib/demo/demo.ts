import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AdapterConfigBase } from '../adapters/adapter.js'
import { lora } from '../adapters/lora.js'
import { mora } from '../adapters/mora.js'
import { formatCount, formatFacts, formatTable } from '../cli/format.js'
import { Progress, StepLine } from '../cli/progress.js'
import type { Terminal } from '../cli/terminal.js'
import { evaluate } from '../eval/index.js'
import { generate } from '../generate/index.js'
import { loadModel, type Model } from '../models/index.js'
import { packageFolder } from '../package-facts.js'
import { train } from '../train/index.js'
import { type Fact, randomFacts } from './facts.js'

/** The model that scripts/pretrain-demo.mjs made. */
export const DEMO_MODEL = join(packageFolder, 'assets', 'demo-model')

/** LoRA's rank, and MoRA's budget. */
const RANK = 8

export interface DemoOptions {
  /** Everything is written here. */
  folder: string
  facts: number
  steps: number
  seed: number
  terminal: Pick<Terminal, 'stdout' | 'stderr'>
}

/** What a method has learnt. */
export interface DemoResult {
  method: string
  trainedParameters: number
  /** Mean of the last step. */
  loss: number
  characterAccuracy: number
  exactAccuracy: number
}

interface Contestant {
  name: string
  adapter: AdapterConfigBase
  learningRate: number
}

/**
 * Each the best for itself of 3e-4, 1e-3, 3e-3, 1e-2 and 3e-2, by the loss after 150 steps on facts of another seed. They
 * are far above those for language models of usual size, as is fit for a matrix of a few thousand entries.
 */
const CONTESTANTS: readonly Contestant[] = [
  { name: 'MoRA', adapter: mora({ rank: RANK }), learningRate: 1e-2 },
  { name: 'LoRA', adapter: lora({ rank: RANK }), learningRate: 1e-2 },
]

/**
 * The MoRA paper's memory task in miniature (arXiv 2405.12130, section 4): MoRA and LoRA learn the same facts with as many
 * trained parameters and steps, MoRA's adapter is merged, and the merged model is asked for a fact.
 */
export async function runDemo(options: DemoOptions): Promise<DemoResult[]> {
  const { folder, terminal } = options
  const print = (text: string) => terminal.stdout.write(`${text}\n`)
  await mkdir(folder, { recursive: true })
  const data = join(folder, 'facts.jsonl')
  const facts = randomFacts(options.facts, options.seed)
  await writeFile(data, facts.map((fact) => `${JSON.stringify(fact)}\n`).join(''))
  print(await introduction(facts[0]!, data, options))

  const results: DemoResult[] = []
  for (const contestant of CONTESTANTS) results.push(await learn(contestant, data, options))
  print(`\n${comparison(results, options)}\n`)

  const merged = join(folder, 'merged')
  print(await merge(join(folder, 'mora'), merged))
  print(await ask(merged, facts[0]!))
  print(`\n${nextSteps(folder)}`)
  return results
}

/** One thread: the products of a model as small as this one are too short to be shared. */
function openModel(path = DEMO_MODEL): Promise<Model> {
  return loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
}

async function introduction(fact: Fact, data: string, { facts, steps }: DemoOptions): Promise<string> {
  using model = await openModel()
  const { characterAccuracy } = await evaluate(model, { task: 'recall', data })
  return `${formatFacts([
    ['model', `${DEMO_MODEL}, ${model.config.layers} layers, hidden size ${model.config.hiddenSize}`],
    ['to learn', `${data}, ${facts} random pairs in ${steps} steps, such as`],
    ['', `${fact.prompt} ${fact.completion}`],
    ['before', `${percent(characterAccuracy)} of the characters are right, by chance and by the form of a uuid`],
  ])}\n`
}
