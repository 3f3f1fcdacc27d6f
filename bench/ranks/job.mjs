// Jobs: processes that train together, each a `SideProcess` of its own.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { pytorchProcess } from '../common/pytorch.mjs'
import { SideProcess } from '../common/side-process.mjs'

/** Ranks as one side of a comparison: each request goes to all of them at the same time. */
export class Job {
  /** @type {any} */
  facts

  /**
   * @param {string} name
   * @param {SideProcess[]} processes by rank
   */
  constructor(name, processes) {
    this.name = name
    this.processes = processes
  }

  /** Resolves with rank 0's first line, once all have loaded. */
  async ready() {
    const all = await Promise.all(this.processes.map((process) => process.ready()))
    this.facts = all[0]
    return this.facts
  }

  /** The answers of all ranks. */
  async ask(request) {
    return await Promise.all(this.processes.map((process) => process.ask(request)))
  }

  /** Takes a step: its time from the first rank's begin to the last one's end, and each rank's answer. */
  async step(request = {}) {
    const answers = await this.ask({ task: 'step', ...request })
    const seconds = latest(answers, 'end') - Math.min(...answers.map(({ begin }) => begin))
    const loss = answers.reduce((sum, answer) => sum + answer.loss, 0) / answers.length
    return { seconds, loss, answers }
  }

  async stop() {
    await Promise.all(this.processes.map((process) => process.stop()))
  }
}

/** The latest of a time that all ranks report. */
export const latest = (answers, what) => Math.max(...answers.map((answer) => answer[what]))

/** Starts one process alone. */
export const jobOfOne = (name, script, task) => new Job(name, [started(name, [], script, task, {})])

function started(name, through, script, task, environment) {
  const [command, ...rest] = [...through, process.execPath, script, JSON.stringify(task)]
  return new SideProcess(name, command, rest, environment)
}

/**
 * Starts ranks that gloo connects, with torchrun's variables. `places`: for each, its address and the command through which the
 * process is started.
 * @param {{ address: string, through: string[] }[]} places
 */
export async function glooJob(name, places, script, task) {
  const variables = {
    WORLD_SIZE: String(places.length),
    MASTER_ADDR: places[0].address,
    MASTER_PORT: await freePort(),
    MORA_JOB_SECRET: randomBytes(32).toString('hex'),
  }
  const processes = places.map(({ through }, rank) =>
    started(`${name}, rank ${rank}`, through, script, task, { ...variables, RANK: String(rank) }),
  )
  return new Job(name, processes)
}

/** Starts `count` ranks on loopback. */
export const onLoopback = (size) => Array.from({ length: size }, () => ({ address: '127.0.0.1', through: [] }))

/** Starts ranks of PyTorch in its best setting; `store` is a file that does not exist yet. */
export function pytorchJob(name, size, { store, ...task }, options) {
  const processes = Array.from({ length: size }, (_, rank) =>
    pytorchProcess(`${name}, rank ${rank}`, 'ddp.py', { ...task, best: true, store, rank, size }, options, true),
  )
  return new Job(name, processes)
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  await new Promise((resolve) => server.close(resolve))
  return String(port)
}
