/** PEFT's MetaMathQA recipe on this library: train, validate on the way, test, and measure forgetting. */
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AdamW, evaluate, generate, loadModel, type Model, readRows, schedule, type Tokenizer } from 'node-mora'
import { isRight } from './answers.ts'
import { numpyShuffle } from './numpy-shuffle.ts'
import { FORGETTING_ROWS, TARGETS, type TrainConfig, VALIDATION_ROWS, WARMUP_RATIO } from './protocol.ts'
import { type FinalMetrics, type StepMetrics, type TrainInfo, trainInfoOf } from './report.ts'
import { bucketedBatches, encodeProblem, isKept, type Problem, promptOf, trainingBatch } from './rows.ts'

/** Paths or hub ids. */
export interface Sources {
  /** MetaMathQA: rows of `query` and `response`. */
  train: string
  /** GSM8K's training rows of `question` and `answer`, of which 50 are for validation. */
  valid: string
  /** GSM8K's test rows. */
  test: string
  /** Rows of `text` that forgetting is measured on; null to skip it. */
  wiki: string | null
}

/** The adapter's configuration as a user of the library writes it. Its layers are those of `TARGETS`. */
export type AdapterChoice = { method: string; rank: number } & Record<string, unknown>

export interface RecipeOptions {
  config: TrainConfig
  adapter: AdapterChoice
  sources: Sources
  /** Where the adapter is saved. */
  output: string
  device?: string
  threads?: number
  say?: (line: string) => void
}

/** Runs the whole recipe and returns the report's data. Saves the adapter in `output/adapter`. */
export async function runRecipe(options: RecipeOptions): Promise<{ model: string; trainInfo: TrainInfo }> {
  const { config, device, threads } = options
  const model = await loadModel(config.model_id, { dtype: config.dtype, device, threads })
  try {
    return { model: model.reference, trainInfo: await runWith(model, options) }
  } finally {
    model.dispose()
  }
}

async function runWith(
  model: Model,
  { config, adapter, sources, output, say = () => {} }: RecipeOptions,
): Promise<TrainInfo> {
  await mkdir(output, { recursive: true })
  const tokenizer = tokenizerOf(model)
  const chosen = { targetModules: TARGETS, dropout: 0, rankPattern: {}, modulesToSave: [], ...adapter }
  await model.addAdapter('default', chosen, { seed: config.seed, onWarning: say })
  const wiki = sources.wiki && (await writeWiki(sources.wiki, tokenizer, config, output))
  const valid = await validationRows(sources.valid, config.seed)
  const test = await gsm8kRows(sources.test)

  const trainer = new Trainer(model, tokenizer, config)
  for await (const rows of trainingRows(sources.train, tokenizer, config)) {
    await trainer.step(rows)
    if (trainer.steps % config.eval_steps === 0) {
      const metrics = await trainer.evaluated(() => accuracyOn(model, tokenizer, valid, config))
      say(JSON.stringify(metrics))
    }
  }
  const accuracy = await accuracyOn(model, tokenizer, test, config)
  const forgetting = wiki && (await evaluate(model, { task: 'forgetting', data: wiki }))
  const final = trainer.finished(accuracy, forgetting ? forgetting.forgetting : null)
  say(JSON.stringify(final))
  const folder = join(output, 'adapter')
  await model.saveAdapter('default', folder)
  const { size } = await stat(join(folder, 'adapter_model.safetensors'))
  return trainInfoOf(trainer, model, final, size)
}

/** Trains with the optimizer, and collects the figures of each step. */
class Trainer {
  readonly losses: number[] = []
  readonly tokens: number[] = []
  /** Of each step. */
  readonly seconds: number[] = []
  /** Of each step: bytes reserved from the system, in use or not. */
  readonly reserved: number[] = []
  readonly metrics: StepMetrics[] = []
  samples = 0
  readonly #model: Model
  readonly #tokenizer: Tokenizer
  readonly #config: TrainConfig
  readonly #allocated: number[] = []
  readonly #started = performance.now()
  readonly #optimizer: AdamW
  readonly #learningRate: (step: number) => number

  constructor(model: Model, tokenizer: Tokenizer, config: TrainConfig) {
    this.#model = model
    this.#tokenizer = tokenizer
    this.#config = config
    const { optimizer_kwargs, max_steps } = config
    const parameters = model.trainableParameters().map(({ parameter }) => parameter)
    this.#optimizer = new AdamW(parameters, { weightDecay: optimizer_kwargs.weight_decay })
    this.#learningRate = schedule({
      learningRate: optimizer_kwargs.lr,
      scheduler: 'cosine',
      warmupSteps: Math.floor(WARMUP_RATIO * max_steps),
      totalSteps: max_steps,
    })
    model.device.resetPeak()
  }

  get steps(): number {
    return this.losses.length
  }

  async step(rows: readonly number[][]): Promise<void> {
    const started = performance.now()
    const { batch, attended } = trainingBatch(rows, this.#tokenizer.eosId!)
    const { loss } = this.#model.loss(batch)
    await loss.backward()
    const norm = this.#optimizer.step({
      learningRate: this.#learningRate(this.steps),
      scaleGradients: 1 / attended,
      maxGradNorm: this.#config.grad_norm_clip,
    })
    this.losses.push((await loss.item()) / attended)
    loss.dispose()
    norm.dispose()
    const { inUse, cached } = this.#model.device.memory()
    this.#allocated.push(inUse)
    this.reserved.push(inUse + cached)
    this.tokens.push(attended + rows.length)
    this.samples += rows.length
    this.seconds.push((performance.now() - started) / 1000)
  }

  async evaluated(accuracy: () => Promise<number>): Promise<StepMetrics> {
    const started = performance.now()
    const valid = await accuracy()
    const ended = performance.now()
    const time = sum(this.#last(this.seconds))
    const metrics = {
      step: this.steps,
      'valid accuracy': valid,
      'train loss': this.trainLoss,
      'train samples': this.samples,
      'train time': time,
      'eval time': (ended - started) / 1000,
      'tokens / sec': sum(this.#last(this.tokens)) / time,
      'mem allocated avg': sum(this.#last(this.#allocated)) / this.#config.eval_steps,
      'mem reserved avg': sum(this.#last(this.reserved)) / this.#config.eval_steps,
      'elapsed time': (ended - this.#started) / 1000,
    }
    this.metrics.push(metrics)
    return metrics
  }

  finished(accuracy: number, forgetting: number | null): FinalMetrics {
    this.#optimizer.dispose()
    return {
      step: this.steps,
      'test accuracy': accuracy,
      'train loss': this.trainLoss,
      'train samples': this.samples,
      'train total tokens': sum(this.tokens),
      forgetting,
    }
  }

  /** Mean of the last steps. */
  get trainLoss(): number {
    return sum(this.#last(this.losses)) / this.#config.eval_steps
  }

  #last(values: readonly number[]): number[] {
    return values.slice(-this.#config.eval_steps)
  }
}

export const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

/** `max_steps` batches of token ids. */
async function* trainingRows(source: string, tokenizer: Tokenizer, config: TrainConfig): AsyncGenerator<number[][]> {
  let step = 0
  for await (const batch of bucketedBatches(keptRows(source, tokenizer, config), config.batch_size)) {
    yield batch
    if (++step === config.max_steps) return
  }
  throw new Error(`${source} has rows for ${step} steps, and ${config.max_steps} were asked for.`)
}

async function* keptRows(source: string, tokenizer: Tokenizer, config: TrainConfig): AsyncGenerator<number[]> {
  for await (const row of readRows(source)) {
    const problem = problemOf(row, 'query', 'response', source)
    if (isKept(problem)) yield await encodeProblem(problem, tokenizer, config)
  }
}

async function gsm8kRows(source: string): Promise<Problem[]> {
  const rows: Problem[] = []
  for await (const row of readRows(source)) rows.push(problemOf(row, 'question', 'answer', source))
  return rows
}

function problemOf(row: Record<string, unknown>, queryKey: string, responseKey: string, source: string): Problem {
  const [query, response] = [row[queryKey], row[responseKey]]
  if (typeof query === 'string' && typeof response === 'string') return { query, response }
  throw new Error(
    `${source}: expected rows of ${queryKey} and ${responseKey} but one has ${Object.keys(row).join(', ')}.`,
  )
}

/** The first `count` rows of numpy's shuffle, or all if there are fewer. */
async function validationRows(source: string, seed: number): Promise<Problem[]> {
  const rows = await gsm8kRows(source)
  return [...numpyShuffle(rows.length, seed).subarray(0, VALIDATION_ROWS)].map((index) => rows[index]!)
}

/** The first texts, each cut to the length of a training row, as a file of token ids. */
async function writeWiki(source: string, tokenizer: Tokenizer, config: TrainConfig, output: string): Promise<string> {
  const lines: string[] = []
  for await (const { text } of readRows(source)) {
    if (typeof text !== 'string') throw new Error(`${source}: expected rows of text.`)
    const ids = await tokenizer.encodeText(text)
    lines.push(JSON.stringify({ input_ids: ids.slice(0, config.max_seq_length) }))
    if (lines.length === FORGETTING_ROWS) break
  }
  const path = join(output, 'forgetting.jsonl')
  await writeFile(path, `${lines.join('\n')}\n`)
  return path
}

/** The share of problems whose greedy continuation has the right answer. */
export async function accuracyOn(
  model: Model,
  tokenizer: Tokenizer,
  problems: readonly Problem[],
  { query_template, batch_size_eval, generation_kwargs }: TrainConfig,
): Promise<number> {
  const { max_length, max_new_tokens } = generation_kwargs
  let right = 0
  for (let start = 0; start < problems.length; start += batch_size_eval) {
    const batch = problems.slice(start, start + batch_size_eval)
    const prompts = batch.map((problem) => promptOf(problem, query_template))
    // PEFT pads a batch to its longest prompt, and counts the pads.
    const ids = await Promise.all(prompts.map((prompt) => tokenizer.encodeText(prompt)))
    const longest = Math.max(...ids.map(({ length }) => length))
    const maxNewTokens = Math.min(max_new_tokens, max_length - longest)
    for (const [i, prompt] of prompts.entries()) {
      const { text } = await generate(model, { prompt, raw: true, maxNewTokens })
      if (isRight(prompt + text, batch[i]!.response)) right++
    }
  }
  return right / problems.length
}

function tokenizerOf({ tokenizer, path }: Model): Tokenizer {
  if (tokenizer?.eosId !== undefined) return tokenizer
  throw new Error(`${path} needs a tokenizer with an end-of-text token.`)
}
