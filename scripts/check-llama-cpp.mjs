/**
 * Checks that llama.cpp reads the files written for it: merges a MoRA by rotation into a GGUF file, exports a MoRA by sharing
 * and a LoRA as GGUF adapters, loads them with node-llama-cpp, and compares the probabilities of the next tokens of some texts
 * with ours. GGUF files of mixed block formats are compared with those of llama.cpp's own quantiser, byte for byte, with an
 * importance matrix and without, of the model and of small ones whose sizes meet exceptions, and so is the perplexity of a
 * text. Small models of families that llama.cpp computes in ways of their own are compared, with random weights and a LoRA of every
 * layer. Fetches node-llama-cpp, which is no dependency, into a temporary folder; a C compiler is needed.
 *
 * On CPUs llama.cpp rounds activations to bfloat16 or Q8_0 where the weights are; on Vulkan devices it does not, so files of
 * these are compared there. A device in software is enough (Debian: apt-get install mesa-vulkan-drivers).
 *
 *   npm run check llama-cpp -- path/to/model.gguf
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { evaluate, exportAdapter, importanceMatrix, initModel, loadModel, lora, mergeModel, mora } from 'node-mora'
import { orUsageError } from '../bench/common/command-line.mjs'
import { modelPath } from '../bench/common/model-path.mjs'
import { fillNormal } from '../bench/common/random.mjs'
import { scratchFolder } from '../bench/common/scratch.mjs'
import { fetchLlamaCpp } from './llama-cpp/fetch.mjs'
import { buildQuantiser, differingTensors, MIXTURES, writeOlderImportance } from './llama-cpp/mixtures.mjs'
import { FAMILIES, SHAPES } from './llama-cpp/shapes.mjs'

const TOLERANCE = 1e-3
/** llama.cpp looks GELU up in a table of float16. */
const GELU_TOLERANCE = 5e-3
const PERPLEXITY_TOLERANCE = 5e-3
const TEXTS = [
  'The capital of France is',
  'def fibonacci(n):\n    if n',
  'Once upon a time there was a small boat that',
]
const CPU = { device: 'cpu', dtype: /** @type {const} */ ('float32') }
/** The first device, be it one in software, with products in float32. */
const VULKAN = {
  GGML_VK_VISIBLE_DEVICES: '0',
  GGML_VK_DISABLE_F16: '1',
  GGML_VK_DISABLE_COOPMAT: '1',
  GGML_VK_DISABLE_COOPMAT2: '1',
  GGML_VK_DISABLE_INTEGER_DOT_PRODUCT: '1',
}

const model = orUsageError(() => modelPath(process.argv[2]))
const folder = scratchFolder()
const { onCpu, onVulkan } = await llamaCpp()
if (!onVulkan) console.log('not compared: bfloat16 and q8_0: there is no Vulkan device')
const base = join(folder, 'base.gguf')
await useModel(model, null, (loaded) => loaded.save(base, { dtype: /** @type {const} */ ('float32') }))

const quantise = buildQuantiser(folder)
const text = readFileSync(new URL('../docs/how-it-works.md', import.meta.url), 'utf8')
const imatrix = join(folder, 'imatrix.gguf')
const older = join(folder, 'imatrix.dat')
await useModel(base, null, (loaded) =>
  importanceMatrix(loaded, { data: [{ text }], window: 512, limit: 4, output: imatrix }),
)
await writeOlderImportance(older, imatrix)
const weighted = /** @type {const} */ (['q4_0', 'q4_k_m', 'iq4_xs'])
for (const dtype of /** @type {(keyof typeof MIXTURES)[]} */ (Object.keys(MIXTURES))) await compareMixture(dtype, false)
for (const dtype of weighted) await compareMixture(dtype, true)

for (const [name, config] of Object.entries(SHAPES)) await compareShape(name, config)
for (const [name, config] of Object.entries(FAMILIES)) await compareFamily(name, config)

const rotation = await randomAdapter('rotation', mora({ rank: 8, operator: 'rotation' }), 0.02)
for (const [dtype, llama] of [
  ['float32', onCpu],
  ['float16', onCpu],
  ['bfloat16', onVulkan],
  ['q8_0', onVulkan],
]) {
  if (!llama) continue
  const output = join(folder, `merged-${dtype}.gguf`)
  await mergeModel({ model, adapter: rotation, output, dtype, device: 'cpu' })
  await compare(`rotation, merged, ${dtype}`, { llama, path: output }, output, null)
}
for (const [name, config, deviation] of [
  ['sharing', mora({ rank: 8, operator: 'sharing' }), 0.02],
  ['lora', lora({ rank: 8 }), 0.05],
]) {
  const adapter = await randomAdapter(name, config, deviation)
  const output = join(folder, `${name}.gguf`)
  await exportAdapter({ model, adapter, output, format: 'gguf-lora' })
  await compare(`${name}, as a GGUF adapter`, { llama: onCpu, path: base, adapter: output }, model, adapter)
}

async function compareMixture(/** @type {keyof typeof MIXTURES} */ dtype, /** @type {boolean} */ isWeighted) {
  const [ours, theirs] = [join(folder, 'ours.gguf'), join(folder, 'theirs.gguf')]
  await useModel(base, null, (loaded) => loaded.save(ours, { dtype, ...(isWeighted && { imatrix }) }))
  quantise(base, theirs, MIXTURES[dtype], ...(isWeighted ? [older] : []))
  const { differing, tensors } = await differingTensors(ours, theirs)
  const [own, other] = [await perplexityOf(ours), await perplexityOf(theirs)]
  const agrees = differing.length === 0 && Math.abs(own / other - 1) <= PERPLEXITY_TOLERANCE
  const found =
    differing.length === 0
      ? `all ${tensors} tensors are`
      : `not ${differing.length} of ${tensors} tensors: ${differing[0]}`
  const what = `${dtype}${isWeighted ? ' with an importance matrix' : ''}`
  const perplexities = `perplexity ${own.toFixed(3)}, of its file ${other.toFixed(3)}`
  console.log(
    `${agrees ? 'agrees' : 'DIFFERS'}: ${what}, bytes of llama.cpp's own quantiser: ${found}; ${perplexities}`,
  )
  if (!agrees) process.exitCode = 1
}

/** The same tensors of a small model with random weights, in all mixtures. */
async function compareShape(/** @type {string} */ name, /** @type {object} */ config) {
  const [path, floats, sums, olderSums] = ['config.json', 'floats.gguf', 'sums.gguf', 'sums.dat'].map((file) =>
    join(folder, file),
  )
  writeFileSync(path, JSON.stringify(config))
  const made = await initModel(path, CPU)
  try {
    await made.save(floats, { dtype: /** @type {const} */ ('float32') })
    const rows = [1, 2, 3, 4].map((row) => ({
      input_ids: Array.from({ length: 30 }, (_, i) => (37 * row + 11 * i) % 300),
    }))
    await importanceMatrix(made, { data: rows, output: sums })
  } finally {
    made.dispose()
  }
  await writeOlderImportance(olderSums, sums)
  const [ours, theirs] = ['ours.gguf', 'theirs.gguf'].map((file) => join(folder, file))
  const found = []
  for (const dtype of /** @type {(keyof typeof MIXTURES)[]} */ (Object.keys(MIXTURES))) {
    for (const isWeighted of [false, true]) {
      await useModel(floats, null, (loaded) => loaded.save(ours, { dtype, ...(isWeighted && { imatrix: sums }) }))
      quantise(floats, theirs, MIXTURES[dtype], ...(isWeighted ? [olderSums] : []))
      for (const tensor of (await differingTensors(ours, theirs)).differing) found.push(`${dtype}: ${tensor}`)
    }
  }
  const result = found.length === 0 ? 'agrees' : 'DIFFERS'
  console.log(`${result}: ${name}, bytes of all mixtures: ${found[0] ?? 'all tensors are'}`)
  if (found.length > 0) process.exitCode = 1
}

/** A small model with random weights, then with a LoRA beside it. */
async function compareFamily(/** @type {string} */ name, /** @type {object} */ config) {
  const [json, output, adapter, exported] = ['config.json', 'family.gguf', 'family-lora', 'family-lora.gguf'].map(
    (file) => join(folder, file),
  )
  await useModel(model, null, async ({ tokenizer, config: { vocabularySize } }) => {
    writeFileSync(
      json,
      JSON.stringify({ ...config, vocab_size: vocabularySize, vocab_size_per_layer_input: vocabularySize }),
    )
    const made = await initModel(json, { ...CPU, tokenizer, seed: 1 })
    try {
      await made.save(output, { dtype: /** @type {const} */ ('float32') })
    } finally {
      made.dispose()
    }
  })
  const allowed = { relative: true, tolerance: 'hidden_activation' in config ? GELU_TOLERANCE : TOLERANCE }
  await compare(name, { llama: onCpu, path: output }, output, undefined, allowed)
  await randomAdapter('family-lora', lora({ rank: 4, targetModules: 'all-linear' }), 0.1, output)
  await exportAdapter({ model: output, adapter, output: exported, format: 'gguf-lora' })
  await compare(`${name} with a LoRA`, { llama: onCpu, path: output, adapter: exported }, output, adapter, allowed)
}

async function perplexityOf(/** @type {string} */ path) {
  const measure = (/** @type {import('node-mora').Model} */ loaded) =>
    evaluate(loaded, { task: 'perplexity', data: [{ text }], window: 512, limit: 2 })
  return (await useModel(path, null, measure)).perplexity
}

/** Two of llama.cpp's own builds: for the CPU, and for a Vulkan device, which is null where there is none. */
async function llamaCpp() {
  const entry = fetchLlamaCpp(folder, { vulkan: true })
  const { getLlama } = await import(pathToFileURL(entry).href)
  Object.assign(process.env, VULKAN)
  const open = (gpu) => getLlama({ gpu, build: 'never', logLevel: 'error' })
  return { onCpu: await open(false), onVulkan: await open('vulkan').catch(() => null) }
}

async function useModel(path, adapter, use) {
  const loaded = await loadModel(path, CPU)
  try {
    if (adapter) await loaded.loadAdapter(adapter)
    return await use(loaded)
  } finally {
    loaded.dispose()
  }
}

/** An adapter whose ΔW changes what the model says and leaves it a language model. */
function randomAdapter(name, config, deviation, base = model) {
  const path = join(folder, name)
  return useModel(base, null, async (loaded) => {
    await loaded.addAdapter('random', config)
    for (const { parameter } of loaded.trainableParameters()) {
      fillNormal(parameter, deviation)
      parameter.version++
    }
    await loaded.saveAdapter('random', path)
    return path
  })
}

/** @param relative of models with random weights all probabilities are small, so differences are compared with the largest */
async function compare(what, theirs, path, adapter, { relative = false, tolerance = TOLERANCE } = {}) {
  const ours = await useModel(path, adapter, ourProbabilities)
  const found = await theirProbabilities(theirs, ours)
  const apart = Math.max(
    ...ours.map(
      ({ probabilities }, i) => largestDifference(probabilities, found[i]) / (relative ? largestOf(probabilities) : 1),
    ),
  )
  const agrees = apart <= tolerance
  console.log(`${agrees ? 'agrees' : 'DIFFERS'}: ${what}: probabilities at most ${apart.toExponential(1)} apart`)
  if (!agrees) process.exitCode = 1
}

async function ourProbabilities(loaded) {
  const results = []
  for (const text of TEXTS) {
    const ids = await loaded.tokenizer.encode(text)
    const cache = loaded.createCache(ids.length)
    results.push({ text, ids, probabilities: softmax(await loaded.nextLogits(ids, cache)) })
    cache.dispose()
  }
  return results
}

/** On Vulkan one token at a time: products of several round what they multiply with bfloat16. */
async function theirProbabilities({ llama, path, adapter }, ours) {
  const loaded = await llama.loadModel({ modelPath: path, gpuLayers: 'max' })
  const context = await loaded.createContext({
    contextSize: 256,
    sequences: ours.length,
    flashAttention: false,
    ...(llama.gpu && { batchSize: 1 }),
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
    ...(adapter && { lora: { adapters: [{ filePath: adapter, scale: 1 }] } }),
  })
  const results = []
  for (const { text, ids } of ours) {
    if (loaded.tokenize(text).join() !== ids.join())
      throw new Error(`Its tokens of ${JSON.stringify(text)} are others.`)
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0 }
    const last = [ids.at(-1), { generateNext: { probabilities: true, options } }]
    const output = await context.getSequence().controlledEvaluate([...ids.slice(0, -1), last])
    results.push(output.at(-1).next.probabilities)
  }
  await context.dispose()
  await loaded.dispose()
  return results
}

function largestDifference(ours, theirs) {
  let apart = theirs.size === ours.length ? 0 : Number.POSITIVE_INFINITY
  for (const [id, probability] of theirs) apart = Math.max(apart, Math.abs(probability - ours[id]))
  return apart
}

const largestOf = (/** @type {Float64Array} */ values) => values.reduce((a, b) => Math.max(a, b))

function softmax(logits) {
  const most = Math.max(...logits)
  const powers = Float64Array.from(logits, (logit) => Math.exp(logit - most))
  const sum = powers.reduce((total, power) => total + power, 0)
  return powers.map((power) => power / sum)
}
