/**
 * A GPT-2 that knows texts by heart: after a prompt it says the reply, else EOS. Tokens and positions have codes of bits in the hidden
 * states. Attention takes a mean of the tokens so far, with weights of their positions, which tells prefixes apart. For each token of a
 * reply, four neurons recognise the last token, its position and that mean, and write the code of the token that follows.
 */
import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomStream } from '../../lib/common/random.js'
import { writeSafetensors } from '../../lib/io/safetensors.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import { quickFolder } from '../io/temporary.js'
import { smallTokenizerFolder } from '../text/tokenizer/small-tokenizer.js'

export interface Script {
  prompt: readonly number[]
  reply: readonly number[]
}

interface ScriptedOptions {
  maxPositions?: number
  withTokenizer?: boolean
}

const VOCABULARY = 502
const EOS = 1
const EPSILON = 1e-5
/** Size of the mean in the hidden states: small, so that norms hardly depend on it. */
const MEAN = 1e-2
/** Weight of the mean in a neuron, and of each bit of token and position. */
const [OF_MEAN, OF_BIT] = [1e7, 6e4]
/** What the four neurons of a rule add up to. */
const FIRED = 10
/** Gives the wanted token a probability of about 0.9. */
const OF_LOGIT = 1.14

const TOKEN_BITS = 9

/** A code of bits, ±1; each is followed by its opposite, so that the mean is 0 and all codes have one length. */
const codeOf = (id: number, bits: number): number[] =>
  Array.from({ length: bits }, (_, bit) => ((id >> bit) & 1 ? [1, -1] : [-1, 1])).flat()

/** Natural log-probability of a token where a model's script wants another one, or this one. */
export function logProbOf(id: number, wanted: number): number {
  const logits = Array.from({ length: VOCABULARY }, (_, other) => {
    const code = codeOf(wanted, TOKEN_BITS)
    return OF_LOGIT * codeOf(other, TOKEN_BITS).reduce((sum, bit, i) => sum + bit * code[i]!, 0)
  })
  return logits[id]! - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
}

/** Loads a model of the scripts, with the small tokenizer; of scripts that continue a text differently, the first counts. */
export async function loadScripted(scripts: readonly Script[], options: ScriptedOptions = {}): Promise<Model> {
  const folder = quickFolder()
  try {
    await writeScripted(folder, scripts, options)
    return await loadModel(folder, { device: 'cpu', dtype: 'float32', threads: 1 })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function writeScripted(
  folder: string,
  scripts: readonly Script[],
  { maxPositions = 1024, withTokenizer = true }: ScriptedOptions,
): Promise<void> {
  const network = new ScriptedNetwork(maxPositions)
  for (const script of scripts) network.learn(script)
  const config = {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: VOCABULARY,
    n_embd: network.size,
    n_head: 1,
    n_layer: 1,
    n_inner: network.neurons,
    n_positions: maxPositions,
    layer_norm_epsilon: EPSILON,
    tie_word_embeddings: false,
    bos_token_id: null,
    eos_token_id: EOS,
  }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
  if (withTokenizer) cpSync(smallTokenizerFolder, folder, { recursive: true })
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    Object.entries(network.tensors()).map(([name, { shape, data }]) => {
      return { name, dtype: 'float32', shape, data: async () => new Uint8Array(data.buffer) }
    }),
  )
}

interface Values {
  shape: number[]
  data: Float32Array
}

/** A text so far, and the token that follows. */
interface Rule {
  before: readonly number[]
  next: number
}

class ScriptedNetwork {
  /** Width of the hidden states: the codes of token, position and next token, and the mean with its opposite. */
  readonly size: number
  readonly #rules: Rule[] = []
  readonly #positionBits: number
  readonly #ofTokens: number[]
  readonly #ofPositions: number[]
  /** Weight of norms: what is normalised keeps its size. */
  readonly #norm: number

  constructor(readonly maxPositions: number) {
    this.#positionBits = Math.ceil(Math.log2(maxPositions + 1))
    this.size = 4 * TOKEN_BITS + 2 * this.#positionBits + 2
    this.#norm = Math.sqrt((this.size - 2) / this.size + EPSILON)
    const random = randomStream(1, 'scripted')
    const weights = (count: number) => {
      const values = Array.from({ length: count }, () => random.uniform() - 0.5)
      const total = values.reduce((sum, value) => sum + Math.abs(value), 0)
      return values.map((value) => value / total)
    }
    this.#ofTokens = weights(TOKEN_BITS)
    this.#ofPositions = weights(this.#positionBits)
  }

  get neurons(): number {
    return Math.max(1, 4 * this.#rules.length)
  }

  learn({ prompt, reply }: Script): void {
    const whole = [...prompt, ...reply]
    for (let known = prompt.length; known < whole.length; known++) {
      const before = whole.slice(0, known)
      if (!this.#rules.some((rule) => rule.before.join() === before.join()))
        this.#rules.push({ before, next: whole[known]! })
    }
  }

  tensors(): Record<string, Values> {
    const { size, neurons, maxPositions } = this
    const wte = matrix(VOCABULARY, size, (id) => this.#states({ token: id }))
    const wpe = matrix(maxPositions, size, (position) => this.#states({ position, next: EOS }))
    const head = matrix(VOCABULARY, size, (id) => this.#states({ next: id }).map((bit) => OF_LOGIT * bit))
    const none = new Array<number>(size).fill(0)
    const projection = matrix(size, 3 * size, (row) => {
      const [token, place] = [row, row - 2 * TOKEN_BITS].map((column) => (column % 2 === 0 ? column / 2 : -1))
      const key = (this.#ofPositions[place!] ?? 0) * Math.sqrt(size)
      return [...none, key, ...none.slice(1), this.#ofTokens[token!] ?? 0, ...none.slice(1)]
    })
    const query = matrix(1, 3 * size, () => [1, ...none.slice(1), ...none, ...none])
    const output = matrix(size, size, (row) => (row === 0 ? [...none.slice(2), MEAN, -MEAN] : none))
    const fired = this.#rules.map((rule) => this.#neuron(rule))
    const weights = matrix(size, neurons, (row) => fired.flatMap(({ weight }) => new Array(4).fill(weight[row])))
    const biases = matrix(1, neurons, () =>
      fired.flatMap(({ bias }) => [2, 1, -1, -2].map((offset) => bias + offset * FIRED)),
    )
    const down = matrix(neurons, size, (row) => {
      const rule = this.#rules[row >> 2]
      const [wanted, usual] = [rule?.next ?? EOS, EOS].map((next) => this.#states({ next }))
      const sign = [1, -1, -1, 1][row % 4]! / FIRED
      return wanted!.map((bit, i) => sign * (bit - usual![i]!))
    })
    const norms = ['h.0.ln_1', 'h.0.ln_2', 'ln_f'].flatMap((name) => [
      [`transformer.${name}.weight`, vector(none.map(() => this.#norm))],
      [`transformer.${name}.bias`, vector(none)],
    ])
    return {
      'transformer.wte.weight': wte,
      'transformer.wpe.weight': wpe,
      'lm_head.weight': head,
      'transformer.h.0.attn.c_attn.weight': projection,
      'transformer.h.0.attn.c_attn.bias': vector([...query.data]),
      'transformer.h.0.attn.c_proj.weight': output,
      'transformer.h.0.attn.c_proj.bias': vector(none),
      'transformer.h.0.mlp.c_fc.weight': weights,
      'transformer.h.0.mlp.c_fc.bias': vector([...biases.data]),
      'transformer.h.0.mlp.c_proj.weight': down,
      'transformer.h.0.mlp.c_proj.bias': vector(none),
      ...Object.fromEntries(norms),
    }
  }

  #states({ token, position, next }: { token?: number; position?: number; next?: number }, mean = 0): number[] {
    const code = (id: number | undefined, bits: number) =>
      id === undefined ? new Array<number>(2 * bits).fill(0) : codeOf(id, bits)
    return [...code(token, TOKEN_BITS), ...code(position, this.#positionBits), ...code(next, TOKEN_BITS), mean, -mean]
  }

  /** Returns a neuron's weights, and the bias with which it is 0 after the text. */
  #neuron({ before }: Rule): { weight: number[]; bias: number } {
    const sum = (code: number[], weights: readonly number[]) =>
      weights.reduce((total, weight, bit) => total + weight * code[2 * bit]!, 0)
    const shares = before.map((_, position) => Math.exp(sum(codeOf(position, this.#positionBits), this.#ofPositions)))
    const total = shares.reduce((all, share) => all + share, 0)
    const mean = before.reduce(
      (all, id, i) => all + (shares[i]! / total) * sum(codeOf(id, TOKEN_BITS), this.#ofTokens),
      0,
    )
    const last = { token: before.at(-1)!, position: before.length - 1 }
    const states = this.#states({ ...last, next: EOS }, MEAN * mean)
    const variance = states.reduce((all, state) => all + state * state, 0) / this.size
    const scale = this.#norm / Math.sqrt(variance + EPSILON)
    const weight = [
      ...this.#states(last)
        .slice(0, -2)
        .map((bit) => bit * OF_BIT),
      OF_MEAN,
      0,
    ]
    return { weight, bias: -scale * weight.reduce((all, one, i) => all + one * states[i]!, 0) }
  }
}

function matrix(rows: number, columns: number, row: (index: number) => readonly number[]): Values {
  const data = new Float32Array(rows * columns)
  for (let index = 0; index < rows; index++) data.set(row(index), index * columns)
  return { shape: [rows, columns], data }
}

const vector = (values: readonly number[]): Values => ({ shape: [values.length], data: Float32Array.from(values) })
