/** Slurm on this machine alone: a controller and one node, without accounts and control groups. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Lack } from '../needs.js'
import { freePort } from './free-port.js'
import type { Launcher } from './launchers.js'

const commands = ['slurmctld', 'slurmd', 'srun', 'scancel', 'sinfo']

export function lacksSlurm(): Lack {
  if (process.getuid?.() !== 0) return 'Slurm: slurmd needs root'
  const absent = commands.find((command) => spawnSync(command, ['-V']).error)
  return absent === undefined ? null : `Slurm: there is no ${absent} (bash scripts/setup.sh --slurm)`
}

export class Slurm implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'mora-slurm-'))
  readonly #configuration = join(this.#folder, 'slurm.conf')
  readonly #daemons: ChildProcess[] = []

  static async start(): Promise<Slurm> {
    const slurm = new Slurm()
    const [ofController, ofNode] = [await freePort(), await freePort()]
    const [host] = hostname().split('.')
    const at = (name: string) => join(slurm.#folder, name)
    for (const name of ['state', 'spool']) mkdirSync(at(name))
    writeFileSync(at('cgroup.conf'), 'CgroupPlugin=disabled\n')
    const settings = [
      ['ClusterName=test', `SlurmctldHost=${host}(127.0.0.1)`, `SlurmctldPort=${ofController}`, `SlurmdPort=${ofNode}`],
      ['SlurmUser=root', 'AuthType=auth/none', 'CredType=cred/none', 'ProctrackType=proctrack/linuxproc'],
      ['TaskPlugin=task/none', 'SelectType=select/cons_tres', 'SelectTypeParameters=CR_Core', 'MpiDefault=none'],
      [`StateSaveLocation=${at('state')}`, `SlurmdSpoolDir=${at('spool')}`],
      [`SlurmctldPidFile=${at('controller.pid')}`, `SlurmdPidFile=${at('node.pid')}`],
      [`NodeName=${host} NodeAddr=127.0.0.1 CPUs=1`, 'PartitionName=all Nodes=ALL Default=YES State=UP'],
    ]
    writeFileSync(slurm.#configuration, `${settings.flat().join('\n')}\n`)
    for (const [command, ...argv] of [
      ['slurmctld', '-D', '-i'],
      ['slurmd', '-D'],
    ]) {
      slurm.#daemons.push(spawn(command!, argv, { env: slurm.#environment, stdio: 'ignore' }))
    }
    for (let tries = 0; !/^idle/m.test(slurm.run('sinfo', '-h', '-o', '%t')); tries++) {
      if (tries > 300) throw new Error('Slurm does not come up.')
      await pause(100)
    }
    return slurm
  }

  get #environment(): NodeJS.ProcessEnv {
    return { ...process.env, SLURM_CONF: this.#configuration, OMPI_MCA_btl: '^tcp' }
  }

  /** What a command of Slurm prints. */
  run(command: string, ...argv: string[]): string {
    return spawnSync(command, argv, { encoding: 'utf8', env: this.#environment }).stdout
  }

  /** `srun`, for jobs of this file's tests. */
  launcher(mpi: 'pmix' | 'none', variables: Record<string, string> = {}): Launcher {
    return {
      name: `srun --mpi=${mpi}`,
      isHere: true,
      endsOthers: true,
      start: async (size, argv) => [
        spawn('srun', ['--overcommit', `--mpi=${mpi}`, '-n', String(size), process.execPath, ...argv], {
          env: { ...this.#environment, ...variables, NO_COLOR: '1' },
          stdio: ['ignore', 'pipe', 'pipe'],
        }),
      ],
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.run('scancel', '--full', '--user=root')
    for (const daemon of this.#daemons.reverse()) {
      const ended = daemon.exitCode === null && daemon.signalCode === null ? once(daemon, 'exit') : null
      daemon.kill('SIGTERM')
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
