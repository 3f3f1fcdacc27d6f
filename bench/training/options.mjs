import { parseArgs } from 'node:util'
import { parseMethod } from '../common/methods.mjs'
import { modelPath } from '../common/model-path.mjs'

const usage = `node bench/train.mjs [MODEL] [options]: a training step of node-mora and of PyTorch, side by side.
MODEL is a folder or a .gguf file; default: the first of $MORA_TEST_ASSETS/models.

  --methods LIST   lora:RANK, rotation:RANK, sharing:RANK; default lora:8,rotation:8,sharing:8, of which float32 takes
                   only rotation:8 to keep the run short
  --dtypes LIST    bfloat16, float32; default both
  --rounds N       measured rounds at most, after one that is not counted; default 7 (a slow machine takes fewer)
  --minutes N      time for all rounds together, at least one each; default 8
  --rows N         documents of a batch, default 4; --length N: tokens of each, default 512
  --threads N      default all cores
  --python FILE    an interpreter that has torch; default /usr/bin/python3
  --blas FOLDER    where PyTorch finds its libblas.so.3; default the system's
  --json FILE      also write everything as JSON
  --quick          rotation:8 in bfloat16, one round`

const dtypes = ['bfloat16', 'float32']

export function readOptions(commandArguments) {
  const { values, positionals } = parseArgs({
    args: commandArguments,
    allowPositionals: true,
    options: {
      methods: { type: 'string' },
      dtypes: { type: 'string' },
      rounds: { type: 'string' },
      minutes: { type: 'string', default: '8' },
      rows: { type: 'string', default: '4' },
      length: { type: 'string', default: '512' },
      threads: { type: 'string', default: '0' },
      python: { type: 'string', default: '/usr/bin/python3' },
      blas: { type: 'string' },
      json: { type: 'string' },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const { quick } = values
  const chosen = list(values.dtypes ?? (quick ? 'bfloat16' : dtypes.join()))
  for (const dtype of chosen) {
    if (!dtypes.includes(dtype)) throw new Error(`Expected bfloat16 or float32 for --dtypes but received ${dtype}.`)
  }
  const methodsOf = (dtype) => {
    const short = quick || dtype === 'float32'
    return list(values.methods ?? (short ? 'rotation:8' : 'lora:8,rotation:8,sharing:8')).map(parseMethod)
  }
  return {
    ...values,
    model: modelPath(positionals[0]),
    cases: chosen.flatMap((dtype) => methodsOf(dtype).map((method) => ({ dtype, method }))),
    rounds: positive('rounds', values.rounds ?? (quick ? 1 : 7)),
    minutes: positive('minutes', values.minutes),
    rows: positive('rows', values.rows),
    length: positive('length', values.length),
    threads: Number(values.threads),
  }
}

const list = (text) => text.split(',').filter((part) => part !== '')

function positive(name, text) {
  const value = Number(text)
  if (value > 0) return value
  throw new Error(`Expected a positive number for --${name} but received ${text}.`)
}
