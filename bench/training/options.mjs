import { parseMethod } from '../common/methods.mjs'
import { dtypeList, list, readOptions, whole } from '../common/options.mjs'
import { peftVersions } from '../common/pytorch.mjs'

const usage = `node bench/train.mjs [MODEL] [options]: a training step of node-mora and of PyTorch, side by side.
MODEL is a folder or a .gguf file; default: the first of $MORA_TEST_ASSETS/models.

  --methods LIST   lora:RANK, rotation:RANK, sharing:RANK; default lora:8,rotation:8,sharing:8, of which float32 (and
                   --quick) takes only rotation:8 to keep the run short
  --dtypes LIST    bfloat16, float32; default both, with --quick bfloat16
  --compile N      minutes that torch.compile may take for each method, default 5, with --quick 0: it takes no part
  --allocator FILE a malloc that PyTorch's processes load first, such as libtcmalloc.so.4 or libjemalloc.so.2; default
                   glibc's, set to keep freed blocks
  --minutes N      time for all rounds together, at least one each, so that a slow machine takes fewer; default 8
  --rows N         documents of a batch, default 4; --length N: tokens of each, default 512`

const own = /** @type {const} */ ({
  methods: { type: 'string' },
  dtypes: { type: 'string' },
  compile: { type: 'string' },
  allocator: { type: 'string' },
  minutes: { type: 'string', default: '8' },
  rows: { type: 'string', default: '4' },
  length: { type: 'string', default: '512' },
})

/**
 * Reads the shared options, `peft` (versions or null) and `cases`, a dtype and a method each; `minutes`, `rows` and `length` as
 * numbers.
 */
export function trainingOptions() {
  const options = readOptions({ usage, own })
  const { quick, methods } = options
  const methodsOf = (dtype) => {
    const one = quick || dtype === 'float32'
    return list(methods ?? (one ? 'rotation:8' : 'lora:8,rotation:8,sharing:8')).map(parseMethod)
  }
  const dtypes = dtypeList(options.dtypes ?? (quick ? 'bfloat16' : 'bfloat16,float32'))
  return {
    ...options,
    peft: options.pytorch && peftVersions(options.python),
    cases: dtypes.flatMap((dtype) => methodsOf(dtype).map((method) => ({ dtype, method }))),
    compileMinutes: whole('compile', options.compile ?? (quick ? '0' : '5'), 0),
    minutes: whole('minutes', options.minutes, 1),
    rows: whole('rows', options.rows, 1),
    length: whole('length', options.length, 1),
  }
}
