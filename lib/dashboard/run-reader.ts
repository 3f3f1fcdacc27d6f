/** Reads one run from its folder. */
import { join } from 'node:path'
import { AppendedLines, sizeProblem } from '../io/appended-lines.js'
import { entriesInside, type FileInside, FileView, fileText, withFileInside } from '../io/inside.js'
import { isJsonObject } from '../io/json.js'
import { identityIn, isAlive } from '../io/process-identity.js'
import type { FoundRun } from './find-runs.js'
import { MetricsReader, parsed } from './metrics-reader.js'
import type { KnownMetrics, RunDetails, RunMetrics, RunSummary, Sample } from './payload.js'
import { readFacts } from './run-yaml.js'

/** Maximum number of samples that are kept of a run: the newest. */
const MOST_SAMPLES = 500
/** Maximum number of characters that are kept of a prompt or a text. */
const SAMPLE_LENGTH = 4_000
/** Maximum number of rewards that are shown of an answer. */
const MOST_REWARDS = 20
/** Bytes at the end of metrics.jsonl in which the last step is searched. */
const TAIL = 2 ** 16
/** Milliseconds since the last change after which a run on another machine counts as ended. */
const SILENCE = 10 * 60_000

export class RunReader {
  readonly #run: FoundRun
  readonly #signal: AbortSignal | undefined
  readonly #runFile: FileView<ReturnType<typeof readFacts>>
  readonly #metricsFile: FileView<LastStep>
  #metrics: MetricsReader | null = null
  readonly #samples: SampleFile
  readonly #rollouts: SampleFile

  /** @param signal aborts reading */
  constructor(run: FoundRun, signal?: AbortSignal) {
    this.#run = run
    this.#signal = signal
    this.#runFile = new FileView(this.#path('run.yaml'), async (file) => readFacts(await fileText(file)))
    this.#metricsFile = new FileView(this.#path('metrics.jsonl'), readLastStep)
    this.#samples = new SampleFile(this.#path('samples.jsonl'), signal)
    this.#rollouts = new SampleFile(this.#path('rollouts.jsonl'), signal)
  }

  async summary(): Promise<RunSummary> {
    const { id, name } = this.#run
    const [facts, last] = await Promise.all([this.#runFile.get(), this.#metricsFile.get()])
    const { step, loss, modified } = last ?? { step: null, loss: null, modified: 0 }
    const { totalSteps, method } = facts ?? { totalSteps: null, method: null }
    const status = await this.#status(step, totalSteps, modified)
    return { id, name, status, step, totalSteps, loss, method, modified }
  }

  metrics(known: KnownMetrics | null): Promise<RunMetrics> {
    this.#metrics ??= new MetricsReader(this.#path('metrics.jsonl'), this.#signal)
    return this.#metrics.since(known)
  }

  /** Number of rows of metrics in memory. */
  get rows(): number {
    return this.#metrics?.rows ?? 0
  }

  /** Frees the memory of the metrics; the next request reads them again. */
  forgetMetrics(): void {
    this.#metrics = null
  }

  async details(): Promise<RunDetails> {
    const files = [this.#samples, this.#rollouts]
    const [runFile, last, checkpoints, samples] = await Promise.all([
      this.#runFile.get(),
      this.#metricsFile.get(),
      this.#checkpoints(),
      Promise.all(files.map((file) => file.read())),
    ])
    const ofFiles = files.map((file) => file.problem)
    const problems = [runFile?.problem, runFile?.untrained, sizeProblem('metrics.jsonl', last?.size ?? 0), ...ofFiles]
    return {
      id: this.#run.id,
      facts: runFile?.facts ?? [],
      checkpoints: checkpoints.map(({ step }) => step),
      serves: await this.#serves(checkpoints.at(-1)?.name),
      samples: samples.flat(),
      problems: problems.filter((problem) => typeof problem === 'string'),
    }
  }

  #path(...names: string[]): string {
    return join(this.#run.folder, ...names)
  }

  async #status(step: number | null, totalSteps: number | null, modified: number): Promise<RunSummary['status']> {
    if (await this.#isHeld(modified)) return 'running'
    if (step === null) return 'empty'
    // The model card is written last; a run that was stopped has one too.
    const hasCard = (await withFileInside(this.#path('README.md'), async () => true)) ?? false
    return hasCard && step >= (totalSteps ?? step) ? 'finished' : 'stopped'
  }

  /** Whether a process is writing to the folder: the lock of `mora train` names it. */
  async #isHeld(modified: number): Promise<boolean> {
    const text = await withFileInside(this.#path('.lock'), fileText)
    const holder = identityIn(text ?? '')
    return holder !== null && (isAlive(holder) ?? Date.now() - modified < SILENCE)
  }

  async #checkpoints(): Promise<{ name: string; step: number }[]> {
    const entries = await entriesInside(this.#path('checkpoints'))
    const checkpoints = entries.flatMap(({ name }) => {
      const [, step] = /^step-(\d+)$/.exec(name) ?? []
      return step === undefined ? [] : [{ name, step: Number(step) }]
    })
    return checkpoints.sort((a, b) => a.step - b.step)
  }

  /** @param checkpoint the folder of the newest one */
  async #serves(checkpoint?: string): Promise<RunDetails['serves']> {
    const has = async (...names: string[]) => (await withFileInside(this.#path(...names), async () => true)) ?? false
    if (await has('adapter_config.json')) return 'adapter'
    if (checkpoint !== undefined && (await has('checkpoints', checkpoint, 'adapter_config.json'))) return 'adapter'
    return (await has('model', 'config.json')) ? 'model' : null
  }
}

/** The newest lines of `samples.jsonl` or `rollouts.jsonl`. */
class SampleFile {
  readonly #lines: AppendedLines
  #samples: Sample[] = []

  constructor(path: string, signal: AbortSignal | undefined) {
    const onReset = () => {
      this.#samples = []
    }
    this.#lines = new AppendedLines(path, { onLine: (line) => this.#add(line), onReset }, signal)
  }

  get problem(): string | null | undefined {
    return this.#lines.problem
  }

  async read(): Promise<Sample[]> {
    await this.#lines.read()
    return [...this.#samples]
  }

  #add(line: string): void {
    const { step, prompt, text: sampled, completion: text = sampled, rewards } = parsed(line) ?? {}
    if (typeof step !== 'number' || typeof prompt !== 'string' || typeof text !== 'string') return
    const short = (long: string) => long.slice(0, SAMPLE_LENGTH)
    this.#samples.push({ step, prompt: short(prompt), text: short(text), rewards: rewardsText(rewards) })
    if (this.#samples.length > MOST_SAMPLES) this.#samples.shift()
  }
}

/** Returns rewards by name as a text; empty if there are none. */
function rewardsText(rewards: unknown): string {
  const named = isJsonObject(rewards) ? Object.entries(rewards) : []
  return named
    .slice(0, MOST_REWARDS)
    .flatMap(([name, value]) =>
      typeof value === 'number' ? [`${name.slice(0, 40)} ${Number(value.toPrecision(3))}`] : [],
    )
    .join(', ')
}

interface LastStep {
  step: number | null
  loss: number | null
  /** Size in bytes. */
  size: number
  /** Last change, in milliseconds since 1970. */
  modified: number
}

async function readLastStep({ handle, size, modified }: FileInside): Promise<LastStep> {
  const length = Math.min(size, TAIL)
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length)
  const lines = buffer.toString('utf8', 0, bytesRead).split('\n').slice(0, -1)
  const line = lines.map(parsed).findLast((entry) => typeof entry?.step === 'number' && 'loss' in entry)
  const number = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : null)
  return { step: number(line?.step), loss: number(line?.loss), size, modified }
}
