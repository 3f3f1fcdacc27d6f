/**
 * Compares the memory that `mora fit` says with the most resident memory of the process that then trains, for models of
 * several sizes:
 *
 *     npm run check fit [-- NAME… --keep FOLDER]
 *
 * Models of 135 million to 7 billion parameters have random weights in the shapes of SmolLM2, Llama 3.2 and Llama 2. They are
 * written to a temporary folder, 15 GB for all of them. With MORA_TEST_ASSETS the real model of 135 million takes part.
 */
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const mora = join(root, 'dist', 'cli', 'main.js')
/** The difference that is allowed, as a fraction of what is seen. */
const TOLERANCE = 0.1

const llama = (vocabulary, hidden, intermediate, layers, heads, keyValueHeads, tied) => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: vocabulary,
  hidden_size: hidden,
  intermediate_size: intermediate,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: keyValueHeads,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: tied,
  hidden_act: 'silu',
  torch_dtype: 'bfloat16',
})
const shapes = {
  '135m': llama(49_152, 576, 1536, 30, 9, 3, true),
  '1b': llama(128_256, 2048, 8192, 16, 32, 8, true),
  '7b': llama(32_000, 4096, 11_008, 32, 32, 32, false),
}

/** Runs to compare, by name: the model, and options of training. */
const runs = {
  '135m-mora': ['135m', ['--max-length', '512', '--batch-size', '4']],
  '135m-lora-float32': ['135m', ['--method', 'lora', '--dtype', 'float32', '--max-length', '256', '--batch-size', '4']],
  '135m-full': ['135m', ['--method', 'full', '--max-length', '256', '--batch-size', '2']],
  '135m-checkpointing': ['135m', ['--gradient-checkpointing', '--max-length', '512', '--batch-size', '4']],
  'real-135m': ['real', ['--max-length', '512', '--batch-size', '4']],
  '1b-mora': ['1b', ['--max-length', '128', '--batch-size', '1']],
  '1b-lora-nf4': ['1b', ['--method', 'lora', '--quantise', 'nf4', '--max-length', '128', '--batch-size', '1']],
  '7b-mora-nf4': ['7b', ['--quantise', 'nf4', '--max-length', '64', '--batch-size', '1']],
  '7b-lora-bfloat16': ['7b', ['--method', 'lora', '--dtype', 'bfloat16', '--max-length', '32', '--batch-size', '1']],
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { keep: { type: 'string' } } })
const names = positionals.length > 0 ? positionals : Object.keys(runs)
const unknown = names.find((name) => !Object.hasOwn(runs, name))
if (unknown) {
  console.error(`Expected names of runs (${Object.keys(runs).join(', ')}) but received ${unknown}.`)
  process.exit(2)
}
const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'mora-fit-'))
mkdirSync(folder, { recursive: true })

/** Writes a checkpoint of random weights in bfloat16, unless it is there; returns its folder. */
function checkpoint(name) {
  const path = join(folder, name)
  if (existsSync(join(path, 'config.json'))) return path
  mkdirSync(path, { recursive: true })
  const config = shapes[name]
  const tensors = tensorsOf(config)
  const header = {}
  let offset = 0
  for (const [tensor, shape] of tensors) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1)
    header[tensor] = { dtype: 'BF16', shape, data_offsets: [offset, offset + bytes] }
    offset += bytes
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = openSync(join(path, 'model.safetensors'), 'w')
  writeSync(file, length)
  writeSync(file, json)
  const values = randomValues()
  for (let left = offset; left > 0; left -= values.length) writeSync(file, values, 0, Math.min(left, values.length))
  closeSync(file)
  writeFileSync(join(path, 'config.json'), JSON.stringify(config, null, 2))
  return path
}

/** @returns {[name: string, shape: number[]][]} */
function tensorsOf({ vocab_size: V, hidden_size: D, intermediate_size: F, num_hidden_layers: layers, ...config }) {
  const keys = (D / config.num_attention_heads) * config.num_key_value_heads
  /** @returns {[name: string, shape: number[]][]} */
  const block = (i) => [
    [`model.layers.${i}.input_layernorm.weight`, [D]],
    [`model.layers.${i}.self_attn.q_proj.weight`, [D, D]],
    [`model.layers.${i}.self_attn.k_proj.weight`, [keys, D]],
    [`model.layers.${i}.self_attn.v_proj.weight`, [keys, D]],
    [`model.layers.${i}.self_attn.o_proj.weight`, [D, D]],
    [`model.layers.${i}.post_attention_layernorm.weight`, [D]],
    [`model.layers.${i}.mlp.gate_proj.weight`, [F, D]],
    [`model.layers.${i}.mlp.up_proj.weight`, [F, D]],
    [`model.layers.${i}.mlp.down_proj.weight`, [D, F]],
  ]
  /** @type {[name: string, shape: number[]][]} */
  const tensors = [['model.embed_tokens.weight', [V, D]]]
  for (let i = 0; i < layers; i++) tensors.push(...block(i))
  tensors.push(['model.norm.weight', [D]])
  if (!config.tie_word_embeddings) tensors.push(['lm_head.weight', [V, D]])
  return tensors
}

/** Returns 16 MiB of bfloat16 values, uniform in (-0.03, 0.03); weights repeat them. */
function randomValues() {
  const floats = new Float32Array(2 ** 23).map(() => 0.06 * Math.random() - 0.03)
  const words = new Uint32Array(floats.buffer)
  return Buffer.from(Uint16Array.from(words, (word) => word >>> 16).buffer)
}

/** Runs a command of mora; returns its JSON and the most memory that its process had, in bytes. */
async function run(args) {
  const child = spawn(process.execPath, [mora, ...args, '--json', '--quiet'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let [text, most] = ['', 0]
  child.stdout.on('data', (chunk) => {
    text += chunk
  })
  const watch = setInterval(() => {
    try {
      const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? []
      most = Math.max(most, 1024 * Number(kilobytes ?? 0))
    } catch {} // it has just ended
  }, 20)
  const code = await new Promise((resolve) => child.once('close', resolve))
  clearInterval(watch)
  if (code !== 0) throw new Error(`mora ${args.join(' ')} ended with ${code}: ${text}`)
  return { json: JSON.parse(text), most }
}

/** Writes rows of a length in tokens. */
function rowsOf(options) {
  const option = (name) => Number(options[options.indexOf(name) + 1])
  const ids = Array.from({ length: option('--max-length') }, (_, i) => 5 + ((37 * i) % 1000))
  const path = join(folder, 'rows.jsonl')
  writeFileSync(path, `${JSON.stringify({ input_ids: ids })}\n`.repeat(option('--batch-size')))
  return path
}

const GiB = (bytes) => (bytes / 2 ** 30).toFixed(2).padStart(6)
let failed = 0
for (const name of names) {
  const [shape, options] = runs[name]
  const real =
    process.env.MORA_TEST_ASSETS && join(process.env.MORA_TEST_ASSETS, 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf')
  if (shape === 'real' && !(real && existsSync(real))) {
    console.log(`${name.padEnd(20)} left out: MORA_TEST_ASSETS has no real model`)
    continue
  }
  const model = shape === 'real' ? real : checkpoint(shape)
  const { json } = await run(['fit', model, ...options])
  const { peak, free } = json.memory
  if (!json.fits) {
    console.log(`${name.padEnd(20)} left out: it needs ${GiB(peak)} GiB, and ${GiB(free)} GiB are free`)
    continue
  }
  const output = join(folder, 'out')
  const train = ['train', '--model', model, '--data', rowsOf(options), '--output', output, '--overwrite']
  const { json: result, most } = await run([...train, '--max-steps', '2', ...options])
  const off = peak / most - 1
  const isRight = Math.abs(off) <= TOLERANCE
  if (!isRight) failed++
  const memory = `memory: said ${GiB(peak)} GiB, seen ${GiB(most)} GiB (${(100 * off).toFixed(1)} %)`
  const time = `a step: said ${json.secondsPerStep?.toFixed(1)} s, seen ${(json.tokensPerStep / result.tokensPerSecond).toFixed(1)} s`
  console.log(`${name.padEnd(20)} ${memory}; ${time}${isRight ? '' : '; TOO FAR'}`)
}
if (!values.keep) rmSync(folder, { recursive: true })
process.exit(failed > 0 ? 1 : 0)
