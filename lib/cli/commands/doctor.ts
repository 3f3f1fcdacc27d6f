import { formatBytes } from '../../common/bytes.js'
import type { DoctorReport } from '../../doctor.js'
import { DoctorSchema } from '../../options/index.js'
import type { CheckResult, SelfCheck } from '../../self-check/index.js'
import { defineCommand } from '../command.js'
import { formatFacts } from '../terminal/format.js'

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'show CPU features, devices and libraries of this machine, and how to install missing ones',
  schema: DoctorSchema,
  idle: ['device', 'dtype', 'rotaryDtype', 'allowTf32', 'seed', 'offline'],
  examples: ['mora doctor', 'mora doctor --check', 'mora doctor --json'],
  check() {},
  async run({ threads, check }) {
    const { doctor } = await import('../../doctor.js')
    const report = doctor({ threads })
    const isFit = report.problems.every(({ level }) => level !== 'error')
    // Without the addon nothing can be computed.
    if (!check || !isFit) return { json: report, text: describe(report), exitCode: isFit ? 0 : 1 }
    const { selfCheck } = await import('../../self-check/index.js')
    const checked = await selfCheck(threads)
    const text = `${describe(report)}\n\n${describeCheck(checked)}`
    return { json: { ...report, check: checked }, text, exitCode: checked.passed ? 0 : 1 }
  },
})

function describe(report: DoctorReport): string {
  const { version, cpu, addon, threads, devices, libraries, ranks, launchers, nccl, problems } = report
  const facts = formatFacts([
    ['node-mora', version],
    ['CPU', `${cpu.name} (${cpu.architecture}, ${cpu.cores} cores)`],
    ['features', cpu.features.join(' ') || 'unknown'],
    ['memory', formatBytes(cpu.memory)],
    ...(addon
      ? [['addon', `${addon.path}, built for ${addon.builtFor ?? `every ${cpu.architecture} processor`}`] as const]
      : []),
    [
      'threads',
      threads < cpu.cores ? `${threads} (--threads, affinity or the quota of a control group)` : String(threads),
    ],
    ...devices.map(
      ({ kind, index, name, detail, totalMemory, fastBfloat16 }) =>
        [
          `device ${kind}:${index}`,
          `${name}, ${formatBytes(totalMemory)}${kind === 'cpu' && totalMemory < cpu.memory ? ' (the limit of a control group)' : ''}, dtype ${fastBfloat16 ? 'bfloat16' : 'float32'}${detail ? ` (${detail})` : ''}`,
        ] as const,
    ),
    ...libraries.map(({ name, version: found }) => [name, found] as const),
    [
      'ranks by',
      listed(
        ranks.map(({ name, version: found }) => `${name} ${found}`),
        { MPI: ranks.some(({ name }) => name !== 'gloo'), gloo: ranks.some(({ name }) => name === 'gloo') },
      ),
    ],
    ['their GPUs by', nccl ? `NCCL ${nccl.version} (${nccl.path})` : 'none (NCCL)'],
    [
      'started by',
      listed(
        launchers.map(
          ({ command, name, version: found }) => `${command} (${found === null ? name : `${name} ${found}`})`,
        ),
        {
          mpirun: launchers.some(({ name }) => name !== 'Slurm'),
          srun: launchers.some(({ name }) => name === 'Slurm'),
        },
      ),
    ],
  ])
  const lines = problems.map(({ level, problem, remedy }) => `${level}: ${problem}${remedy ? `\n  ${remedy}` : ''}`)
  return [facts, ...(lines.length > 0 ? ['', ...lines] : [])].join('\n')
}

/** Lists the available features, then the missing ones. */
function listed(there: readonly string[], has: Readonly<Record<string, boolean>>): string {
  const absent = Object.keys(has).filter((name) => !has[name])
  return [...there, ...absent.map((name) => `no ${name}`)].join(', ')
}

function describeCheck({ system, architecture, node, results, passed }: SelfCheck): string {
  const failed = results.filter((result) => !result.passed).length
  const end = passed
    ? `All ${results.length} checks passed`
    : `${failed} of ${results.length} checks failed: do not trust results of this machine, and report this text`
  return `Checked on ${system}, ${architecture}, ${node}:\n${results.map(describeResult).join('\n')}\n${end}.`
}

function describeResult({ name, deviation, tolerance, passed, problem }: CheckResult): string {
  const found = problem ?? `${deviation!.toExponential(1)} of ${tolerance.toExponential(0)}`
  return `${passed ? 'ok    ' : 'FAILED'}  ${found.padEnd(16)}  ${name}`
}
