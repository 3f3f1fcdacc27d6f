import { formatBytes } from '../../common/bytes.js'
import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { Fit } from '../../fit/fit.js'
import { FitSchema, forLibrary } from '../../options/index.js'
import { pathsOf } from '../../rows/sources/source.js'
import { defineCommand } from '../command.js'
import { requireInputs, requirePath } from '../paths.js'
import { formatCount, formatDuration, formatFacts } from '../terminal/format.js'

export const fitCommand = defineCommand({
  name: 'fit',
  summary: 'say what a run needs before it starts: memory by part, the time of a step and an epoch, disk',
  schema: FitSchema,
  positional: ['model'],
  examples: [
    'mora fit SmolLM2-135M-Instruct.Q4_1.gguf --method lora --max-length 512',
    'mora fit SmolLM2-135M-Instruct.Q4_1.gguf --data train.jsonl --batch-size 16',
  ],
  check(options) {
    requireInputs(FitSchema, options)
    requirePath('init', options.init)
    if (pathsOf(options.data).includes('-')) {
      throw new UsageError(
        'unfit-options',
        '--data - is the standard input, which only the run itself can read: give a file, or leave --data out.',
      )
    }
  },
  async run({ model, ...options }) {
    const { fit: fitRun } = await import('../../fit/fit.js')
    const json = await fitRun(model!, forLibrary(FitSchema, { model, ...options }))
    return { json, text: describeFit(json) }
  },
})

/** Describes what a run needs. */
export function describeFit({ memory, disk, steps, advice, fits, ...time }: Fit): string {
  const { secondsPerStep, secondsPerEpoch, tokensPerStep } = time
  const parts: [string, number][] = [
    ['base', memory.base],
    ['adapter', memory.adapter],
    ['activations', memory.activations],
    ['optimizer', memory.optimizer],
    ['process', memory.process],
  ]
  const facts: [string, string][] = [
    ['memory', `${formatBytes(memory.peak)} at the peak, ${formatBytes(memory.free)} free`],
    ...parts.map(([name, bytes]): [string, string] => [`  ${name}`, formatBytes(bytes)]),
  ]
  if (secondsPerStep !== null)
    facts.push(['a step', `${seconds(secondsPerStep)} for ${formatCount(tokensPerStep)} tokens`])
  if (secondsPerEpoch !== null) facts.push(['an epoch', seconds(secondsPerEpoch)])
  if (steps !== null && secondsPerStep !== null)
    facts.push(['the run', `${formatCount(steps)} steps, ${seconds(steps * secondsPerStep)}`])
  const free = disk.free === null ? '' : `, ${formatBytes(disk.free)} free`
  facts.push(
    ['disk', `${formatBytes(disk.run)}${free}`],
    ['  result', formatBytes(disk.result)],
    ['  a checkpoint', formatBytes(disk.checkpoint)],
    ['  merged model', formatBytes(disk.merged)],
    ['fits', fits ? 'yes' : 'no'],
  )
  return [formatFacts(facts), ...adviceLines(advice)].join('\n')
}

/** Returns a line for each change of options, with the memory that the run then needs. */
function adviceLines(advice: Fit['advice']): string[] {
  return advice.map(({ options, memory, disk, fits }) => {
    const changed = Object.entries(options).map(([name, value]) => optionName(name, value))
    return `with ${changed.join(' ')}: ${formatBytes(memory)} of memory, ${formatBytes(disk)} of disk${fits ? ', which fits' : ''}`
  })
}

function seconds(value: number): string {
  return value < 10 ? `${Number(value.toPrecision(2))} s` : formatDuration(value)
}
