/** Stand-ins of the trackers of docs/tracking.md: MLflow and trackio over HTTP, and W&B's library as a module. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

export interface TrackedRequest {
  path: string
  body: Record<string, unknown>
}

const RUN = { info: { run_id: 'a1b2', experiment_id: '0', status: 'RUNNING' }, data: {} }

/** Fields that each call must have, by the trackers' own documentation. */
const REQUIRED: Record<string, readonly string[]> = {
  '/api/2.0/mlflow/runs/create': ['experiment_id'],
  '/api/2.0/mlflow/runs/log-batch': ['run_id'],
  '/api/2.0/mlflow/runs/update': ['run_id', 'status', 'end_time'],
  '/api/bulk_log': ['project', 'run', 'metrics_list', 'steps', 'timestamps'],
}

export class Trackers {
  readonly requests: TrackedRequest[] = []
  readonly #server: Server
  readonly #wandbLog: string

  private constructor(folder: string) {
    this.#wandbLog = join(folder, 'wandb.jsonl')
    writeFileSync(this.#wandbLog, '')
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const path = request.url ?? ''
        const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>
        const missing = REQUIRED[path]?.filter((name) => !(name in body))
        this.requests.push({ path, body })
        response.writeHead(missing?.length === 0 ? 200 : 400, { 'content-type': 'application/json' })
        response.end(JSON.stringify(path.endsWith('/create') ? { run: RUN } : {}))
      })
    })
  }

  /** @param folder whose `node_modules` gets `@wandb/sdk` */
  static async start(folder: string): Promise<Trackers> {
    const trackers = new Trackers(folder)
    writeWandb(join(folder, 'node_modules', '@wandb', 'sdk'))
    await new Promise<void>((resolve) => trackers.#server.listen(0, '127.0.0.1', resolve))
    return trackers
  }

  /** The environment in which the page's blocks find them. */
  get environment(): Record<string, string> {
    const server = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    return { MLFLOW_TRACKING_URI: server, TRACKIO_SERVER_URL: server, WANDB_STAND_IN: this.#wandbLog }
  }

  bodiesOf(path: string): Record<string, unknown>[] {
    return this.requests.filter((one) => one.path === path).map(({ body }) => body)
  }

  /** Calls of W&B's library: its function's name and argument. */
  get wandbCalls(): [name: string, argument: Record<string, unknown> | null][] {
    const lines = readFileSync(this.#wandbLog, 'utf8').trim().split('\n')
    return lines.map((line) => JSON.parse(line) as [string, Record<string, unknown> | null])
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

function writeWandb(folder: string): void {
  mkdirSync(folder, { recursive: true })
  const facts = { name: '@wandb/sdk', type: 'module', exports: { types: './index.d.ts', default: './index.js' } }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(facts))
  writeFileSync(
    join(folder, 'index.js'),
    `import { appendFileSync } from 'node:fs'
const tell = (...call) => appendFileSync(process.env.WANDB_STAND_IN, JSON.stringify(call) + '\\n')
export default {
  init: async (options) => tell('init', options),
  log: (numbers) => tell('log', numbers),
  finish: async () => tell('finish', null),
}
`,
  )
  writeFileSync(
    join(folder, 'index.d.ts'),
    `declare const wandb: {
  init(options?: { project?: string; config?: Record<string, unknown> }): Promise<unknown>
  log(numbers: Record<string, unknown>): void
  finish(): Promise<void>
}
export default wandb
`,
  )
}
