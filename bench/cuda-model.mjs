// Predicts, without a GPU, what training a Llama-2-7B with MoRA costs on an H100: what the CUDA backend launches (a trace
// of the emulator, which need not compute for that), beside what the reference launches, both by the roofline. Every
// figure is predicted, none measured. Needs `npm run build emulated`.
//   npm run bench cuda-model -- --tokens 4096 --json predicted.json
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { orUsageError } from './common/command-line.mjs'
import { table } from './common/table.mjs'
import { frozenMicroseconds, predictBlocks } from './cuda-model/block.mjs'
import { H100, microseconds, totalMicroseconds } from './cuda-model/roofline.mjs'
import { predictStep } from './cuda-model/step.mjs'

const { values: options } = orUsageError(() =>
  parseArgs({
    options: {
      tokens: { type: 'string', default: '4096' },
      details: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  }),
)
const tokens = Number(options.tokens)

/** Limit of the time that adapters add to the frozen products, in percent. */
const cases = [
  { operator: 'rotation', rank: 8, goal: 25 },
  { operator: 'sharing', rank: 8, goal: 12 },
  { operator: 'rotation', rank: 256, goal: 55 },
  { operator: 'sharing', rank: 256, goal: 35 },
]
const mergeGoal = 10 // milliseconds, all targets of the model
const launchGoal = 40 // kernels of ours in a block's forward pass
const steps = ['lora:8', 'rotation:8']
/** What trains on a card of 8 GB, of which CUDA, libraries and a screen use a part: with gradient checkpointing. */
const small = { tokens: 2048, deviceBytes: 6 * 2 ** 30, formats: ['q4_0', 'q4_k', 'nf4'] }

const base = frozenMicroseconds(tokens)
console.log(
  `Predicted for ${H100.name} by the roofline (not measured): a Llama-2-7B in bfloat16, ${tokens} tokens in one document.\n\n` +
    `The seven linear layers of a block, forward and backward. Frozen products alone: ${base.toFixed(0)} µs.\n`,
)
const blocks = predictBlocks(cases, tokens)
console.log(
  table(
    [
      'operator',
      'rank',
      'reference adds',
      'without windows',
      'ours add',
      'goal',
      'forward µs',
      'backward µs',
      'per step µs',
      'launches',
    ],
    blocks.map((one) => [
      one.operator,
      one.rank,
      `${one.referenceAdds.toFixed(0)}%`,
      `${one.addsWithoutWindows.toFixed(1)}%`,
      `${one.adds.toFixed(1)}%`,
      `${one.goal}%`,
      one.forward.toFixed(0),
      one.backward.toFixed(0),
      one.perStep.toFixed(1),
      `${one.launches.forward} + ${one.launches.backward}`,
    ]),
  ),
)
console.log(
  `\n"add" is in percent of the frozen products. "without windows" is ours with blocks read where they lie: products whose ` +
    `operands\ndo not lie on 16 bytes are predicted at ${(H100.unalignedFlopsPerSecond / 1e12).toFixed(0)} TFLOP/s, ours and ` +
    "the reference's (bench/cuda-model/roofline.mjs says why).\n" +
    '"forward" and "backward" are all launches of the seven layers, "per step" what is done once per optimizer step;\n' +
    `launches are those of one forward and one backward pass.\n`,
)
console.log(
  table(
    ['operator', 'rank', 'merge of all targets ms', 'goal', 'kernels in a block forward', 'goal'],
    blocks.map(({ operator, rank, merge, blockKernels }) => [
      operator,
      rank,
      (merge / 1000).toFixed(2),
      mergeGoal,
      blockKernels,
      launchGoal,
    ]),
  ),
)

console.log('\nA whole optimizer step of the model. Kernels are ours, products those of cuBLAS.\n')
const training = steps.map((method) => predictStep(method, tokens))
console.log(
  table(
    ['adapter', 'step ms', 'tokens/s', 'in products ms', 'in kernels ms', 'products', 'kernels', 'peak GiB'],
    training.map(({ method, time, tokensPerSecond, peakBytes, launches }) => {
      const [products, kernels] = ['product', 'kernel'].map((wanted) => launches.filter(({ kind }) => kind === wanted))
      return [
        method.replace(':', ' r='),
        (time / 1000).toFixed(1),
        tokensPerSecond.toFixed(0),
        (totalMicroseconds(products) / 1000).toFixed(1),
        (totalMicroseconds(kernels) / 1000).toFixed(1),
        products.length,
        kernels.length,
        (peakBytes / 2 ** 30).toFixed(1),
      ]
    }),
  ),
)

console.log(
  `\nA step on quantised weights with gradient checkpointing, 1 × ${small.tokens} tokens, on a device that has ` +
    `${(small.deviceBytes / 2 ** 30).toFixed(0)} GiB;\nnorms, embeddings and head are bfloat16, as ` +
    "with --quantise. Times are an H100's, beside the same step on bfloat16.\n",
)
const quantised = steps.flatMap((method) => {
  const floats = predictStep(method, small.tokens, { checkpointing: true })
  const { deviceBytes, tokens: length, formats } = small
  const sides = formats.map((format) => ({
    format,
    ...predictStep(method, length, { format, checkpointing: true, deviceBytes }),
  }))
  return [{ format: 'bfloat16', ...floats }, ...sides].map((side) => ({ ...side, ratio: side.time / floats.time }))
})
console.log(
  table(
    ['weights', 'adapter', 'step ms', 'beside bfloat16', 'weights GiB', 'peak GiB', 'limit'],
    quantised.map(({ format, method, time, ratio, weightBytes, peakBytes }) => [
      format,
      method.replace(':', ' r='),
      (time / 1000).toFixed(1),
      `${ratio.toFixed(2)}×`,
      (weightBytes / 2 ** 30).toFixed(2),
      (peakBytes / 2 ** 30).toFixed(2),
      format === 'bfloat16' ? '' : (small.deviceBytes / 2 ** 30).toFixed(0),
    ]),
  ),
)

const phases = [
  ...blocks.flatMap(({ operator, rank, phases: of }) =>
    Object.entries(of).map(([phase, launches]) => ({ title: `${operator} r=${rank}, ${phase}`, launches })),
  ),
  ...training.map(({ method, launches }) => ({ title: `step with ${method}`, launches })),
  ...quantised.map(({ format, method, launches }) => ({ title: `step on ${format} with ${method}`, launches })),
]
if (options.details) for (const phase of phases) printDetails(phase)
const silent = phases.flatMap(({ launches }) => launches.filter(({ bytes }) => bytes === 0).map(({ name }) => name))
if (silent.length > 0) {
  console.log(`\nKernels that do not say what they move, counted as nothing: ${[...new Set(silent)].join(', ')}.`)
}
if (options.json) {
  writeFileSync(
    options.json,
    JSON.stringify({ predicted: true, device: H100, tokens, base, blocks, training, quantised }, null, 2),
  )
}

function printDetails({ title, launches }) {
  const sums = new Map()
  for (const launch of launches) {
    const sum = sums.get(launch.name) ?? { calls: 0, bytes: 0, flops: 0, time: 0 }
    sums.set(launch.name, sum)
    sum.calls++
    sum.bytes += launch.bytes
    sum.flops += launch.flops
    sum.time += microseconds(launch)
  }
  const rows = [...sums]
    .sort(([, a], [, b]) => b.time - a.time)
    .map(([name, { calls, bytes, flops, time }]) => [
      name,
      calls,
      (bytes / 2 ** 20).toFixed(1),
      (flops / 1e9).toFixed(1),
      time.toFixed(1),
    ])
  console.log(`\n${title}\n${table(['launch', 'calls', 'MiB', 'GFLOP', 'predicted µs'], rows)}`)
}
