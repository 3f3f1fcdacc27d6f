// Attention, and training steps with LoRA, beside PyTorch on the same GPU: scaled_dot_product_attention by each of its
// implementations; the same model in plain PyTorch and through PEFT, eager and compiled. Skips what is not installed.
//   node bench/cuda/pytorch.mjs [--tiny] [--python python3] [--pytorch-device cpu] [--json FILE]
// --pytorch-device cpu tries it where PyTorch has no CUDA.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openDevice } from 'node-mora'
import { keep } from '../common/keep.mjs'
import { parseMethod } from '../common/methods.mjs'
import { pytorchCommand } from '../common/pytorch.mjs'
import { SideProcess } from '../common/side-process.mjs'
import { mebibytes, table } from '../common/table.mjs'
import { attentionFlops, largestDifference, OurAttention, readOutputs, writeInputs } from '../kernels/attention.mjs'
import { profiled, totalSeconds } from './timing.mjs'
import { fits, idsOf, measureStep, trainingRuns } from './training-runs.mjs'

const { values: options } = parseArgs({
  options: {
    tiny: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    python: { type: 'string', default: 'python3' },
    'pytorch-device': { type: 'string', default: 'cuda' },
    json: { type: 'string' },
  },
})
const theirDevice = options['pytorch-device']
const repeats = options.tiny ? 1 : 10
const rank = 8
const tinyAttention = { heads: 4, headSize: 16, length: 24, checked: 12 }

const facts = factsOf()
/** @type {{ pytorch: any, attention: any[], steps: any[] }} */
const result = { pytorch: facts, attention: [], steps: [] }
if (facts.why) {
  console.log(`PyTorch is not compared with: ${facts.why}.`)
  keep(options.json, { ...result, skipped: facts.why })
  process.exit(0)
}
console.log(
  `PyTorch ${facts.torch} on ${facts.device}, cuDNN ${facts.cudnn}, peft ${facts.peft ?? `none: ${facts.whyNoPeft}`}`,
)

const device = openDevice({ device: 'cuda' })
const scratch = mkdtempSync(join(tmpdir(), 'mora-pytorch-'))
try {
  for (const shape of attentionShapes()) await compareAttention(shape)
  for (const run of trainingRuns(options.tiny).filter((one) => fits(device, one))) await compareSteps(run)
} finally {
  rmSync(scratch, { recursive: true })
}
const disagreeing = result.attention.filter(({ apart }) => apart > 2 ** -5)
if (disagreeing.length > 0) console.error(`Results do not agree: ${disagreeing.map(({ side }) => side).join(', ')}.`)
process.exit(disagreeing.length > 0 ? 1 : 0)

function factsOf() {
  const [program, [script], environment] = pytorchCommand('cuda_facts.py', {}, options)
  const env = { ...process.env, ...environment }
  const { error, status, stdout, stderr } = spawnSync(program, [script, theirDevice], { encoding: 'utf8', env })
  if (error) return { why: `there is no ${options.python}` }
  if (status !== 0) return { why: `${options.python} fails: ${stderr.trim().split('\n').at(-1)}` }
  return JSON.parse(stdout)
}

async function withSide(script, task, body) {
  const [program, rest, environment] = pytorchCommand(
    script,
    { device: theirDevice, threads: 0, repeats, ...task },
    options,
  )
  const side = new SideProcess('PyTorch', program, rest, environment)
  try {
    await side.ready()
    return await body(side)
  } catch (error) {
    const lines = error.message.split('\n')
    return { refused: lines.findLast((line) => /Error\b/.test(line)) ?? lines.at(-1) }
  } finally {
    await side.stop()
  }
}

/** `checked` tokens are compared, `length` tokens measured. */
function attentionShapes() {
  if (options.tiny) return [4, 2].map((keyValueHeads) => ({ ...tinyAttention, keyValueHeads }))
  return [
    { heads: 32, keyValueHeads: 32, headSize: 128, length: 4096, checked: 512 },
    { heads: 32, keyValueHeads: 8, headSize: 128, length: 4096, checked: 512 },
    { heads: 9, keyValueHeads: 3, headSize: 64, length: 2048, checked: 512 },
  ]
}

async function compareAttention(shape) {
  const { length, checked } = shape
  writeInputs(scratch, shape, length)
  const add = (side, figures) => {
    result.attention.push({ ...shape, side, ...figures })
    keep(options.json, result)
  }
  add('node-mora', await ourAttention(shape))
  writeInputs(scratch, shape, checked)
  const small = new OurAttention(scratch, shape, 1, checked, 'bfloat16', device)
  small.forward()
  small.backward()
  const ours = await small.results()
  small.dispose()
  device.trim()

  await withSide('cuda_attention.py', { ...shape, folder: scratch }, async (side) => {
    for (const backend of ['flash', 'efficient', 'cudnn']) {
      const figures = await side.ask({ task: 'time', backend })
      if (!figures.refused) {
        await side.ask({ task: 'write', backend, repeated: figures.repeated })
        figures.apart = largestDifference(ours, readOutputs(scratch))
      }
      add(`PyTorch, ${backend}`, figures)
    }
    return {}
  }).then(({ refused }) => refused && add('PyTorch', { refused }))
  const rate = (seconds, backward) => (attentionFlops(shape, 1, length, backward) / seconds / 1e12).toFixed(0)
  const { heads, keyValueHeads, headSize } = shape
  console.log(
    `\nAttention of ${length} tokens, ${heads} heads, ${keyValueHeads} of keys, head size ${headSize}\n${table(
      ['side', 'forward µs', 'TFLOP/s', 'backward µs', 'TFLOP/s', 'apart', ''],
      result.attention
        .filter((one) => one.heads === heads && one.keyValueHeads === keyValueHeads)
        .map(({ side, forward, backward, apart, refused, repeated }) =>
          refused
            ? [side, '-', '-', '-', '-', '-', refused]
            : [
                side,
                (forward * 1e6).toFixed(0),
                rate(forward, false),
                (backward * 1e6).toFixed(0),
                rate(backward, true),
                apart?.toExponential(0) ?? '-',
                repeated ? 'keys repeated for every head' : '',
              ],
        ),
    )}`,
  )
}

async function ourAttention(shape) {
  const attention = new OurAttention(scratch, shape, 1, shape.length, 'bfloat16', device)
  const seconds = async (pass) => totalSeconds(await profiled(device, () => attention[pass](), { repeats }))
  const figures = { forward: await seconds('forward'), backward: await seconds('backward') }
  attention.dispose()
  return figures
}

async function compareSteps(run) {
  const { name, config, rows, length } = run
  const add = (side, figures) => {
    result.steps.push({ model: name, side, tokens: rows * length, ...figures })
    keep(options.json, result)
  }
  const { seconds, peak, loss } = await measureStep(device, run, parseMethod(`lora:${rank}`), repeats)
  add('node-mora', { seconds, peak, loss })
  device.trim()
  const ids = join(scratch, 'ids')
  writeFileSync(ids, idsOf(run))
  for (const way of ['plain', 'peft']) {
    for (const compile of [false, true]) {
      const side = `PyTorch, ${way}, ${compile ? 'compiled' : 'eager'}`
      if (way === 'peft' && !facts.peft) {
        add(side, { refused: 'there is no peft' })
        continue
      }
      const task = { config, rank, rows, length, ids, way, compile }
      add(side, await withSide('cuda_train.py', task, (process) => process.ask({ task: 'train' })))
    }
  }
  console.log(
    `\nTraining steps of ${name} with LoRA of rank ${rank}, ${rows} x ${length} tokens, bfloat16\n${table(
      ['side', 'ms', 'tokens/s', 'peak MiB', 'loss', ''],
      result.steps
        .filter(({ model }) => model === name)
        .map(({ side, refused, seconds, tokens, peak, loss }) =>
          refused
            ? [side, '-', '-', '-', '-', refused]
            : [side, (seconds * 1000).toFixed(1), (tokens / seconds).toFixed(0), mebibytes(peak), loss.toFixed(3), ''],
        ),
    )}`,
  )
}
