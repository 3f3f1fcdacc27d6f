import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { parse, stringify } from 'yaml'
import type { Native } from '../../lib/native/addon.js'
import { loadBinary } from '../../lib/native/binary.js'
import { ADAPTER_METHODS } from '../../lib/options/index.js'
import { loadTokenizer } from '../../lib/text/tokenizer.js'
import { drawn } from '../drawn.js'
import { lacksBuild, needing } from '../needs.js'
import { smallTokenizerFolder, templatePath } from '../text/tokenizer/small-tokenizer.js'
import { mora, moraJson, moraOn } from './mora.js'
import { CONFIG } from './tiny-config.js'
import { words } from './words.js'

const folder = mkdtempSync(join(tmpdir(), 'mora-commands-'))
const at = (name: string) => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Built by `npm run build lib`. */
const command = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')

/** Linear layers of the blocks: q, k, v, o, gate, up, down of both. */
const LINEARS = 14

beforeAll(async () => {
  mkdirSync(at('empty'))
  writeFileSync(at('config.json'), JSON.stringify(CONFIG))
  const rows = Array.from({ length: 8 }, (_, row) => ({
    input_ids: Array.from({ length: 6 + row }, (_, i) => (3 * i + row) % 32),
    labels: Array.from({ length: 6 + row }, (_, i) => (i < 2 ? -100 : (3 * i + row) % 32)),
  }))
  writeFileSync(at('rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'))
  const { exitCode } = await moraJson(
    ...words`
    train --init ${at('config.json')} --model ${at('empty')} --data ${at('rows.jsonl')} --output ${at('base')}
    --max-steps 2 --dtype float32
  `,
  )
  expect(exitCode).toBe(0)
})

const model = () => at('base/model')
const trained = (output: string, ...more: string[]) => words`
  train --model ${model()} --data ${at('rows.jsonl')} --output ${at(output)} --max-steps 4 --batch-size 4
  --rank 2 --dtype float32 ${more}
`

const talker = () => at('talker/model')

beforeAll(async () => {
  writeFileSync(at('talker.json'), JSON.stringify({ ...CONFIG, vocab_size: 512 }))
  const { exitCode } = await moraJson(
    ...words`
    train --init ${at('talker.json')} --model ${smallTokenizerFolder} --data ${at('rows.jsonl')}
    --output ${at('talker')} --max-steps 1 --dtype float32
  `,
  )
  expect(exitCode).toBe(0)
})

describe('mora train', () => {
  it('with --merge-every writes the whole model and no adapter, and resumes from its run.yaml', async () => {
    const remora = ['--merge-every', '2', '--regroup', 'permute', '--cycle', 'sharing,rotation']
    const { exitCode } = await moraJson(...trained('remora', ...remora))
    expect(exitCode).toBe(0)
    expect(existsSync(at('remora/model/model.safetensors'))).toBe(true)
    expect(existsSync(at('remora/adapter_config.json'))).toBe(false)
    const again = await moraJson('train', '--config', at('remora/run.yaml'), '--resume')
    expect(again).toMatchObject({ exitCode: 0, json: { steps: 4 } })
    const used = await moraJson('generate', '--model', model(), '--adapter', at('remora'), '--prompt', 'a')
    expect(used).toMatchObject({ exitCode: 2, json: { error: { code: 'not-an-adapter' } } })
    expect(used.json.error.message).toContain(`use ${at('remora/model')}`)
  })

  it('writes an adapter and says how it went, in the keys of the interface', async () => {
    const { exitCode, json } = await moraJson(...trained('adapter', '--eval-data', at('rows.jsonl')))
    expect(exitCode).toBe(0)
    expect(json).toEqual({
      steps: 4,
      loss: expect.any(Number),
      evalLoss: expect.any(Number),
      best: { step: 4, evalLoss: expect.any(Number), path: expect.stringMatching(/step-000004$/), isResult: true },
      trainableParameters: expect.any(Number),
      tokensPerSecond: expect.any(Number),
      peakMemoryBytes: expect.any(Number),
      sources: Array(2).fill(expect.objectContaining({ source: at('rows.jsonl'), form: 'tokens', rows: 8, cut: 0 })),
      output: at('adapter'),
    })
    for (const name of ['adapter_config.json', 'adapter_model.safetensors', 'run.yaml', 'metrics.jsonl']) {
      expect(existsSync(join(at('adapter'), name)), name).toBe(true)
    }
  })

  it('shows steps on stderr and figures on stdout', async () => {
    const { stdout, stderr } = await mora(...trained('shown'))
    expect(stderr).toMatch(
      /^note: \S+rows\.jsonl: 8 rows as tokens \(input_ids, labels\), the longest of \d+ tokens\.$/m,
    )
    expect(stderr).toMatch(/^step 1\/4 {2}loss \d\.\d{4} {2}/m)
    expect(stderr).toMatch(/^step 4\/4 {2}/m)
    expect(stdout).toMatch(/^steps +4$/m)
  })

  it('says with --profile where the time went', async () => {
    const { exitCode, stderr } = await mora(...trained('profiled', '--profile'))
    expect(exitCode).toBe(0)
    expect(stderr).toMatch(/^operation +size +calls +seconds +share +rate +of peak$/m)
    // One call in each of four steps; products have their size and are held against the arithmetic peak.
    expect(stderr).toMatch(/^adamw +4 .* GB\/s/m)
    expect(stderr).toMatch(/^matmul +\d+x\d+x\d+ +\d+ .* GFLOP\/s/m)
    const shares = [...stderr.matchAll(/ (\d+\.\d) % /g)].map(([, share]) => Number(share))
    expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(100, -1)
    expect(stderr).toMatch(/measured peaks: \d+ GFLOP\/s in float32, /)
  })

  it('T32 refuses a folder that holds a run, and continues or replaces it when asked', async () => {
    expect((await moraJson(...trained('twice'))).exitCode).toBe(0)
    const refused = await moraJson(...trained('twice'))
    expect(refused).toMatchObject({ exitCode: 2, json: { error: { code: 'output-exists' } } })
    expect((await moraJson(...trained('twice', '--resume'))).json).toMatchObject({ steps: 4 })
    expect((await moraJson(...trained('twice', '--overwrite'))).json).toMatchObject({ steps: 4 })
  })

  it('writes samples that equal what the adapter generates, and trains as without them', async () => {
    const speaking = (output: string, ...more: string[]) => {
      const from = ['train', '--model', talker(), '--data', at('rows.jsonl'), '--output', at(output)]
      return moraJson(...from, '--max-steps', '3', '--dropout', '0.1', '--dtype', 'float32', ...more)
    }
    const prompt = ['--prompt', 'a b c', '--max-new-tokens', '64', '--dtype', 'float32']
    expect(await speaking('silent')).toMatchObject({ exitCode: 0 })
    expect(await speaking('speaking', '--sample-prompt', 'a b c', '--sample-every', '1')).toMatchObject({ exitCode: 0 })
    const samples = readFileSync(at('speaking/samples.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(samples.map(({ step }) => step)).toEqual([0, 1, 2, 3])
    const { json } = await moraJson('generate', '--model', talker(), '--adapter', at('speaking'), ...prompt)
    expect(samples.at(-1)).toEqual({ step: 3, prompt: 'a b c', text: json.text })
    const adapterOf = (output: string) => readFileSync(at(`${output}/adapter_model.safetensors`)).toString('base64')
    expect(adapterOf('speaking')).toBe(adapterOf('silent'))
  })

  it('runs again from the options that a run recorded', async () => {
    await moraJson(...trained('recorded', '--seed', '7'))
    const { exitCode } = await moraJson('train', '--config', at('recorded/run.yaml'), '--output', at('again'))
    expect(exitCode).toBe(0)
    const losses = (run: string) =>
      readFileSync(at(`${run}/metrics.jsonl`), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).loss)
    expect(losses('again')).toEqual(losses('recorded'))
  })

  it.each(drawn('methods of mora train', ADAPTER_METHODS, 1))(
    'trains %s, continues it, and runs again from what it recorded',
    async (method) => {
      const start = ['train', '--model', model(), '--data', at('rows.jsonl'), '--dtype', 'float32', '--batch-size', '4']
      const output = at(`method-${method}`)
      const of = [
        ...start,
        '--output',
        output,
        '--method',
        method,
        '--match-parameters-of',
        'lora:2',
        '--max-steps',
        '4',
      ]
      expect((await moraJson(...of, '--save-every', '2')).json).toMatchObject({ steps: 4 })
      const lossesOf = (folder: string) => readFileSync(join(folder, 'metrics.jsonl'), 'utf8').match(/"loss":[^,]*/g)
      const losses = lossesOf(output)
      rmSync(join(output, 'checkpoints', 'step-000004'), { recursive: true })
      expect((await moraJson(...of, '--resume')).json).toMatchObject({ steps: 4 })
      expect(lossesOf(output)).toEqual(losses)
      const again = await moraJson('train', '--config', join(output, 'run.yaml'), '--output', `${output}-again`)
      expect(again.json).toMatchObject({ steps: 4 })
      expect(lossesOf(`${output}-again`)).toEqual(losses)
      expect((await moraJson('inspect', '--adapter', output)).json).toMatchObject({ method })
      const { exitCode } = await moraJson(
        ...start,
        '--output',
        `${output}-on`,
        '--adapter',
        output,
        '--method',
        method,
        '--max-steps',
        '1',
      )
      expect(exitCode).toBe(0)
    },
  )

  it('never writes over what it reads', async () => {
    await moraJson(...trained('start'))
    const adapter = () => readFileSync(at('start/adapter_model.safetensors'))
    const [before, names] = [adapter(), readdirSync(model())]
    for (const [output, more] of [
      ['base/model', []],
      ['base', []],
      ['start', ['--adapter', at('start')]],
      ['start', ['--adapter', at('start/checkpoints/step-000004')]],
    ] as const) {
      const { exitCode, json } = await moraJson(...trained(output, '--overwrite', ...more.map(String)))
      expect({ exitCode, code: json.error?.code }, output).toEqual({ exitCode: 2, code: 'unfit-options' })
      expect(json.error.message).toContain('would overwrite')
    }
    expect(adapter()).toEqual(before)
    expect(readdirSync(model())).toEqual(names)
  })

  it('takes the rank from the file of an adapter, and refuses another way to choose it', async () => {
    await moraJson(...trained('ranked'))
    const argv = words`
      train --model ${model()} --data ${at('rows.jsonl')} --output ${at('ranked-on')} --max-steps 1
    `
    const { exitCode, json } = await moraJson(...argv, '--adapter', at('ranked'), '--match-parameters-of', 'lora:4')
    expect({ exitCode, code: json.error?.code }).toEqual({ exitCode: 2, code: 'unfit-options' })
    expect(json.error.message).toContain('--match-parameters-of')
  })

  it('ends with 2 where its output cannot be a folder', async () => {
    const { exitCode, json } = await moraJson(...trained('rows.jsonl/below'))
    expect({ exitCode, code: json.error?.code }).toEqual({ exitCode: 2, code: 'unwritable-output' })
  })

  it.each([
    [['--data', 'absent.jsonl'], 'missing-file', 'absent.jsonl'],
    [['--data', '-', '--eval-data', '-'], 'unfit-options', '--data and --eval-data'],
    [['--threads', '100000'], 'bad-value', 'up to 1024 for --threads'],
    [['--rank-pattern', '(=3'], 'bad-value', '--rank-pattern'],
    [['--eval-data', 'absent.jsonl'], 'missing-file', '--eval-data'],
    [['--template', 'absent.jinja'], 'missing-file', '--template'],
    [['--tools', 'absent.json'], 'missing-file', '--tools'],
    [['--template-options', '{enable}'], 'bad-value', 'a JSON object of variables other than'],
    [['--template-options', '{"tools": []}'], 'bad-value', '--template-options'],
    [['--adapter', 'absent'], 'missing-file', '--adapter'],
    [['--target-modules', 'nothing'], 'no-target', 'q_proj'],
    [['--modules-to-save', 'nothing'], 'no-module', 'embeddings, norms, head, embed_tokens'],
    [['--method', 'dara'], 'bad-value', 'did you mean dora?'],
    [
      ['--method', 'miss', '--rank-pattern', 'q_proj=2'],
      'unfit-options',
      '--rank-pattern does not go with method miss',
    ],
    [['--rank', '4', '--match-parameters-of', 'lora:2'], 'unfit-options', 'one sets the rank'],
    [['--match-parameters-of', 'lora'], 'bad-value', 'a method and a rank, as lora:8'],
  ])('ends with 2 for %j', async (more, code, message) => {
    const { exitCode, json } = await moraJson(...trained('refused', ...more))
    expect(exitCode).toBe(2)
    expect(json.error).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(existsSync(at('refused'))).toBe(false)
  })
})

describe('mora merge', () => {
  it('writes a model that needs no adapter', async () => {
    await moraJson(...trained('to-merge'))
    const merge = ['merge', '--model', model(), '--adapter', at('to-merge'), '--output', at('merged')]
    const { exitCode, json } = await moraJson(...merge)
    expect(exitCode).toBe(0)
    expect(json).toEqual({ output: at('merged'), merged: LINEARS, maxAbsoluteChange: expect.any(Number) })
    expect(json.maxAbsoluteChange).toBeGreaterThan(0)
    expect((await moraJson('inspect', '--model', at('merged'))).json).toMatchObject({ layers: 2, dtype: 'float32' })
    expect(await moraJson(...merge)).toMatchObject({ exitCode: 2, json: { error: { code: 'output-exists' } } })
    expect((await moraJson(...merge, '--overwrite')).exitCode).toBe(0)
  })

  it('takes modules over that were trained whole, from any run that trained them', async () => {
    await moraJson(...trained('whole', '--modules-to-save', 'embeddings,norms'))
    const [v, d] = [CONFIG.vocab_size, CONFIG.hidden_size]
    const { json: adapter } = await moraJson('inspect', '--adapter', at('whole'))
    const { json: plain } = await moraJson('inspect', '--adapter', at('to-merge'))
    expect(adapter.modulesToSave).toEqual(['embed_tokens', 'input_layernorm', 'post_attention_layernorm', 'norm'])
    expect(adapter.parameters).toBe(plain.parameters + v * d + 5 * d)
    const again = await moraJson('train', '--config', at('whole/run.yaml'), '--output', at('whole-again'))
    expect(again.json.trainableParameters).toBe(adapter.parameters)

    const merge = ['merge', '--model', model(), '--adapter', at('whole'), '--output', at('merged-whole')]
    expect((await moraJson(...merge)).json.merged).toBe(LINEARS + 1 + 5)
    const measure = async (...of: string[]): Promise<number[]> => {
      const argv = ['eval', '--task', 'logprobs', '--data', at('rows.jsonl'), '--dtype', 'float32', ...of]
      const { json } = await moraJson(...argv)
      return json.rows.flatMap(({ logprobs }: { logprobs: number[] }) => logprobs)
    }
    const adapted = await measure('--model', model(), '--adapter', at('whole'))
    const merged = await measure('--model', at('merged-whole'))
    adapted.forEach((value, i) => {
      expect(merged[i]).toBeCloseTo(value, 4)
    })
  })

  it('T15 refuses an adapter of another base unless told', async () => {
    await moraJson(...trained('elsewhere'))
    const merged = ['merge', '--model', model(), '--adapter', at('elsewhere'), '--output', at('other-base')]
    expect((await moraJson(...merged)).exitCode).toBe(0)
    const rows = ['--data', at('rows.jsonl')]
    const wrong = [...['--model', at('other-base'), '--adapter', at('elsewhere')], ...rows]
    for (const command of [
      ['eval', '--task', 'logprobs'],
      ['train', '--max-steps', '1', '--output', at('no')],
    ]) {
      const { exitCode, json } = await moraJson(...command, ...wrong)
      expect({ exitCode, code: json.error?.code }).toEqual({ exitCode: 2, code: 'other-base' })
      expect(json.error.message).toContain('with --allow-other-base')
      expect((await moraJson(...command, ...wrong, '--allow-other-base')).exitCode).toBe(0)
    }
  })

  it('shows how far it is on stderr', async () => {
    await moraJson(...trained('shown'))
    const { stderr } = await mora('merge', '--model', model(), '--adapter', at('shown'), '--output', at('shown-merged'))
    const tensors = LINEARS + 7 // embeddings and head, two norms a block and one after
    expect(stderr).toBe(`merging ${at('shown')} into ${model()}\n1/${tensors} tensors\n`)
  })

  it('never writes over what it reads', async () => {
    await moraJson(...trained('kept'))
    for (const output of [model(), at('base'), at('kept')]) {
      const argv = ['merge', '--model', model(), '--adapter', at('kept'), '--output', output, '--overwrite']
      expect(await moraJson(...argv)).toMatchObject({ exitCode: 2, json: { error: { code: 'unfit-options' } } })
    }
    expect(existsSync(join(model(), 'config.json'))).toBe(true)
  })

  it('sends a run that changed the whole model to its model folder', async () => {
    const { exitCode, json } = await moraJson(
      ...words`
      merge --model ${model()} --adapter ${at('base')} --output ${at('no')}
    `,
    )
    expect(exitCode).toBe(2)
    expect(json.error.message).toContain(`use ${model()}`)
  })
})

describe('mora merge and mora export', () => {
  beforeAll(() => moraJson(...trained('rotating')))
  const from = ['--model', model(), '--adapter', at('rotating')]

  it('write one GGUF file where the output ends with .gguf, or the format says so', async () => {
    const file = at('merged.gguf')
    const merge = ['merge', ...from, '--dtype', 'q8_0', '--output']
    expect(await moraJson(...merge, file)).toMatchObject({ exitCode: 0, json: { output: file, merged: LINEARS } })
    expect((await moraJson('inspect', '--model', file)).json).toMatchObject({ layers: 2 })
    expect(await moraJson(...merge, file)).toMatchObject({ exitCode: 2, json: { error: { code: 'output-exists' } } })
    expect((await moraJson(...merge, file, '--overwrite')).exitCode).toBe(0)
    expect((await moraJson(...merge, at('in-folder'), '--format', 'gguf')).json.output).toBe(at('in-folder/model.gguf'))
    expect((await moraJson(...merge, at('unwritten'))).json.error.message).toContain(
      '--dtype q8_0 does not go with --format',
    )
    const over = ['merge', '--model', file, '--adapter', at('rotating'), '--output', file, '--overwrite']
    expect((await moraJson(...over)).json.error.code).toBe('unfit-options')
    const exported = await moraJson('export', ...from, '--format', 'gguf', '--output', at('exported.gguf'))
    expect(exported.json).toEqual({
      output: at('exported.gguf'),
      merged: LINEARS,
      maxAbsoluteChange: expect.any(Number),
    })
  })

  it('write a LoRA, near where there is no exact one and a rank is given, and tell its error', async () => {
    const peft = ['export', ...from, '--format', 'peft', '--output', at('as-lora')]
    expect(await moraJson(...peft)).toMatchObject({ exitCode: 2, json: { error: { code: 'not-low-rank' } } })
    expect(existsSync(at('as-lora'))).toBe(false)
    const refused = await moraJson(...peft, '--approximate-rank', '3')
    expect(refused).toMatchObject({ exitCode: 1, json: { error: { code: 'another-adapter' } } })
    expect(refused.json.error.message).toContain('with --force')
    expect(existsSync(at('as-lora'))).toBe(false)
    const { exitCode, json } = await moraJson(...peft, '--approximate-rank', '3', '--force')
    expect(exitCode).toBe(0)
    expect(json).toMatchObject({ output: at('as-lora'), format: 'peft', layers: LINEARS, rank: 3, exact: false })
    expect(json.relativeError).toBeGreaterThan(0)
    expect(json.layerErrors).toHaveLength(LINEARS)
    const again = await mora(...peft, '--approximate-rank', '3', '--force', '--overwrite')
    expect(again.stdout).toMatch(/^This is another adapter: it leaves out 0\.\d+ of the given adapter's ΔW\.$/m)
    expect((await moraJson('inspect', '--adapter', at('as-lora'))).json).toMatchObject({ method: 'lora', rank: 3 })

    await moraJson(...trained('shared', '--operator', 'sharing'))
    // The base is the one that the adapter names.
    const lora = ['export', '--adapter', at('shared'), '--format', 'gguf-lora', '--output', at('lora.gguf')]
    expect((await moraJson(...lora)).json).toMatchObject({ exact: true, relativeError: 0, layers: LINEARS })
    expect(await moraJson(...lora)).toMatchObject({ exitCode: 2, json: { error: { code: 'output-exists' } } })
    expect((await mora(...lora, '--overwrite')).stdout).toContain('none: exact')
  })

  it('refuse what does not fit a format', async () => {
    const code = async (...argv: string[]) =>
      (await moraJson('export', ...from, '--output', at('unwritten'), ...argv)).json.error.code
    expect(await code()).toBe('missing-option')
    expect(await code('--format', 'onnx')).toBe('bad-value')
    expect(await code('--format', 'peft', '--dtype', 'float16')).toBe('unfit-options')
    expect(await code('--format', 'gguf-lora', '--dtype', 'q8_0')).toBe('unfit-options')
    expect(await code('--format', 'gguf', '--approximate-rank', '2')).toBe('unfit-options')
    expect(await code('--format', 'peft', '--force')).toBe('unfit-options')
  })
})

describe('mora inspect', () => {
  it('tells what a model is', async () => {
    const { json } = await moraJson('inspect', '--model', model())
    // Embeddings and head, two norms a block and one after, and the blocks' linear layers.
    const [d, f, v, kv] = [16, 24, 32, 8]
    const parameters = 2 * v * d + 5 * d + 2 * (2 * d * d + 2 * d * kv + 3 * d * f)
    expect(json).toMatchObject({ architecture: 'llama', parameters, layers: 2, maxLength: 64, tokenizer: null })
  })

  it('tells what an adapter is, with the shapes of its layers', async () => {
    await moraJson(...trained('inspected', '--operator', 'sharing'))
    const { json } = await moraJson('inspect', '--adapter', at('inspected'))
    expect(json).toMatchObject({ method: 'mora', rank: 2, operator: 'sharing' })
    expect(json.layers).toHaveLength(LINEARS)
    // R = floor(sqrt((16 + 24) * 2) + 0.5) = 9
    expect(json.layers).toContainEqual({
      name: 'model.layers.0.mlp.up_proj',
      inFeatures: 16,
      outFeatures: 24,
      squareSide: 9,
    })
    const sides: number[] = json.layers.map(({ squareSide }: { squareSide: number }) => squareSide)
    expect(json.parameters).toBe(sides.reduce((sum, side) => sum + side * side, 0))
  })

  it('counts what an adapter of these options would train', async () => {
    const counted = async (...more: string[]) => (await moraJson('inspect', '--model', model(), ...more)).json
    const [d, f, kv] = [16, 24, 8]
    const [inputs, outputs] = [2 * (6 * d + f), 2 * (2 * d + 2 * kv + 2 * f + d)]
    expect(await counted('--method', 'lora', '--rank', '4')).toMatchObject({
      method: 'lora',
      rank: 4,
      parameters: 4 * (inputs + outputs),
    })
    expect((await counted('--method', 'dora', '--rank', '4')).parameters).toBe(4 * (inputs + outputs) + outputs)
    expect((await counted('--method', 'miss', '--rank', '4')).parameters).toBe(4 * outputs)
    const matched = await counted('--method', 'lora-fa', '--match-parameters-of', 'lora:4')
    expect(matched.rank).toBe(Math.round((4 * (inputs + outputs)) / outputs))
    await moraJson(...trained('matched', '--rank', '3', '--method', 'hira'))
    expect((await moraJson('inspect', '--adapter', at('matched'))).json).toMatchObject({
      method: 'hira',
      parameters: (await counted('--method', 'hira', '--rank', '3')).parameters,
    })
  })

  it('shows which tokens of each row are trained', async () => {
    const { json } = await moraJson('inspect', '--model', model(), '--data', at('rows.jsonl'))
    expect(json.rows).toHaveLength(8)
    expect(json.rows[0]).toEqual({ ids: [0, 3, 6, 9, 12, 15], mask: [0, 0, 1, 1, 1, 1], text: null })
    const tokens = 8 * 6 + 28
    const longest = Math.max(...json.rows.map(({ ids }: { ids: number[] }) => ids.length))
    const targetTokens = tokens - 16
    const counts = { rows: 8, tokens, targetTokens, longest, truncated: 0, withoutTarget: 0, droppedReasoning: 0 }
    expect(json.summary).toMatchObject(counts)
    expect(json.sources).toEqual([
      {
        source: at('rows.jsonl'),
        form: 'tokens',
        columns: ['input_ids', 'labels'],
        ignored: [],
        rows: 8,
        longest,
        cut: 0,
        longRows: { turns: 0, inside: 0, split: 0, into: 0, dropped: 0, questions: 0 },
      },
    ])
    const { stdout } = await mora('inspect', '--model', model(), '--data', at('rows.jsonl'), '--limit', '1')
    expect(stdout).toContain('row 1: 6 tokens, 4 trained\n0 3 ⟦6 9 12 15 ⟧\n')
    expect(stdout).toContain('and 7 more rows')
    expect(stdout).toContain(
      `${at('rows.jsonl')}: 8 rows as tokens (input_ids, labels), the longest of ${longest} tokens\n`,
    )
  })

  it('shares the tokens of its rows with training', async () => {
    const tokens = join(at('cache'), 'datasets')
    const rows = [
      { input_ids: [1, 2], labels: [-100, -100] },
      ...Array.from({ length: 99 }, (_, i) => ({ input_ids: [i % 32, 5] })),
    ]
    const filling = ' '.repeat(4096)
    writeFileSync(at('shared.jsonl'), rows.map((row) => `${JSON.stringify({ ...row, filling })}\n`).join(''))
    const previous = process.env.MORA_CACHE
    process.env.MORA_CACHE = at('cache')
    try {
      const data = ['--model', model(), '--data', at('shared.jsonl')]
      const first = await mora('inspect', ...data, '--limit', '3')
      expect(first.stdout).toMatch(/row 3: 2 tokens/)
      expect(first.stdout).toMatch(/^rows +3$/m)
      expect(first.stderr).toContain('the summary is of the first 3 rows: no more was read')
      expect(existsSync(tokens)).toBe(false)
      expect((await moraJson('inspect', ...data)).json.summary).toMatchObject({ rows: 100, withoutTarget: 1 })
      const written = readdirSync(tokens).map((name) => [name, statSync(join(tokens, name)).mtimeMs])
      expect(written).toHaveLength(1)
      const { exitCode } = await moraJson(
        'train',
        ...data,
        '--output',
        at('by-cache'),
        '--max-steps',
        '1',
        '--rank',
        '2',
      )
      expect(exitCode).toBe(0)
      const { json } = await moraJson('inspect', ...data, '--limit', '3')
      expect(json.rows).toHaveLength(3)
      expect(json.summary.rows).toBe(100)
      expect(readdirSync(tokens).map((name) => [name, statSync(join(tokens, name)).mtimeMs])).toEqual(written)
    } finally {
      if (previous === undefined) delete process.env.MORA_CACHE
      else process.env.MORA_CACHE = previous
    }
  })

  it('needs something to inspect', async () => {
    expect(await moraJson('inspect')).toMatchObject({ exitCode: 2, json: { error: { code: 'missing-option' } } })
  })
})

describe('mora eval', () => {
  it('refuses a folder as the file to write, before it works', async () => {
    const argv = ['eval', '--model', model(), '--task', 'logprobs', '--data', at('rows.jsonl'), '--output', at('empty')]
    const { exitCode, json } = await moraJson(...argv)
    expect({ exitCode, code: json.error?.code }).toEqual({ exitCode: 2, code: 'not-a-file' })
  })

  it('scores texts that were made elsewhere without a model, by a published rule or by a file', async () => {
    writeFileSync(
      at('sums.jsonl'),
      '{"question":"1 + 2?","answer":"#### 3"}\n{"question":"2 + 2?","answer":"#### 4"}\n',
    )
    writeFileSync(at('texts.jsonl'), '{"text":"The answer is: 3"}\n{"text":"#### 5"}\n')
    writeFileSync(at('scorer.mjs'), 'export default ({ row, text }) => (text.endsWith(row.answer) ? 1 : 0.5)\n')
    const argv = ['--data', at('sums.jsonl'), '--predictions', at('texts.jsonl')]
    const gsm8k = await moraJson('eval', '--task', 'gsm8k', ...argv, '--details')
    expect(gsm8k).toMatchObject({ exitCode: 0, json: { task: 'gsm8k', accuracy: 0.5, strict: 0, metamath: 0.5 } })
    expect(gsm8k.json.rows).toMatchObject([
      { extracted: '3', score: 1 },
      { extracted: '5', score: 0 },
    ])
    const own = await moraJson('eval', '--task', 'generate', ...argv, '--scorer', at('scorer.mjs'))
    expect(own).toMatchObject({ exitCode: 0, json: { task: 'generate', rows: 2, score: 0.5 } })
  })

  it.each([
    [['--task', 'generate', '--model', 'M'], 'missing-option', '--scorer'],
    [['--task', 'generate', '--predictions', 'F', '--scorer', 'absent.mjs'], 'missing-file', '--scorer'],
    [['--task', 'gsm8k'], 'missing-option', '--model'],
    [['--task', 'gsm8k', '--predictions', 'absent.jsonl'], 'missing-file', '--predictions'],
  ])('refuses %j before it works', async (options, code, name) => {
    const { exitCode, json } = await moraJson('eval', ...options, '--data', at('rows.jsonl'))
    expect({ exitCode, code: json.error?.code }).toEqual({ exitCode: 2, code })
    expect(json.error?.message).toContain(name)
  })
})

/** A copy of the talker in which the first values of a tensor, from one on, are another number. */
function changedTalker(name: string, tensor: string, value: number, { from = 0, count = 1 } = {}): void {
  cpSync(talker(), at(name), { recursive: true })
  const path = join(at(name), 'model.safetensors')
  const bytes = readFileSync(path)
  const data = 8 + Number(bytes.readBigUInt64LE())
  const [start] = JSON.parse(bytes.subarray(8, data).toString())[tensor].data_offsets
  for (let i = from; i < from + count; i++) bytes.writeFloatLE(value, data + start + 4 * i)
  writeFileSync(path, bytes)
}

describe('a model with a weight that is not a number', () => {
  const damaged = () => at('damaged')

  beforeAll(() => {
    changedTalker('damaged', 'model.norm.weight', Number.NaN)
    writeFileSync(at('pairs.jsonl'), '{"prompt":"one","completion":"two","answer":"two"}\n')
    writeFileSync(at('choices.jsonl'), '{"question":"one","choices":["a","b"],"answer":0}\n')
  })

  it.each([
    ['logprobs', 'pairs.jsonl'],
    ['perplexity', 'pairs.jsonl'],
    ['exact-match', 'pairs.jsonl'],
    ['recall', 'pairs.jsonl'],
    ['choices', 'choices.jsonl'],
    ['choices', 'choices.jsonl', '--score', 'text'],
  ])('is not measured by %s of %s', async (task, data, ...more) => {
    const argv = ['eval', '--model', damaged(), '--task', task, '--data', at(data), '--template', 'none', ...more]
    const { exitCode, json } = await moraJson(...argv)
    expect({ exitCode, code: json.error?.code }, JSON.stringify(json)).toEqual({ exitCode: 1, code: 'non-finite' })
  })

  it('is not trained, and not to blame on the learning rate', async () => {
    const argv = words`
      train --model ${damaged()} --data ${at('pairs.jsonl')} --output ${at('no-run')} --template none
    `
    const { exitCode, json } = await moraJson(...argv)
    expect({ exitCode, code: json.error?.code }).toEqual({ exitCode: 1, code: 'non-finite' })
    expect(json.error.message).toContain('the weights of the model are damaged')
  })
})

describe('a model that never learnt the token that ends an answer', () => {
  it('T12 is told of, unless the table of tokens is trained too', async () => {
    writeFileSync(at('answers.jsonl'), '{"prompt":"one","completion":"two"}\n')
    const { eosId } = (await loadTokenizer(smallTokenizerFolder))!
    const row = { from: eosId! * CONFIG.hidden_size, count: CONFIG.hidden_size }
    changedTalker('unheard', 'model.embed_tokens.weight', 0, row)
    const notices = async (base: string, ...more: string[]) => {
      const argv = ['train', '--model', base, '--data', at('answers.jsonl'), '--output', at('heard'), '--overwrite']
      const { exitCode, stderr } = await mora(...argv, '--template', 'none', '--max-steps', '1', ...more)
      expect(exitCode, stderr).toBe(0)
      return stderr
    }
    expect(await notices(talker())).not.toContain('looks untrained')
    expect(await notices(at('unheard'))).toContain(
      "note: <|end|> is a target 1 times, but the model's embedding or head looks untrained",
    )
    expect(await notices(at('unheard'), '--modules-to-save', 'embeddings')).not.toContain('looks untrained')
  })
})

describe('a model that reads and writes text', () => {
  it('answers a prompt with mora generate, in the keys of the interface', async () => {
    const argv = ['generate', '--model', talker(), '--prompt', 'a', '--raw', '--max-new-tokens', '3']
    const { exitCode, json } = await moraJson(...argv)
    expect(exitCode).toBe(0)
    expect(json).toEqual({
      text: expect.any(String),
      ids: expect.any(Array),
      promptTokens: expect.any(Number),
      newTokens: json.ids.length,
      finishReason: expect.stringMatching(/^(stop|length)$/),
      tokensPerSecond: expect.any(Number),
    })
    const { stdout, stderr } = await mora(...argv)
    expect(stdout).toBe(`${json.text}\n`)
    expect(stderr).toMatch(/^\d tokens, /)
  })

  const toolTemplate = () => {
    const source =
      '{{ mood }}{% for t in tools or [] %}{{ t.name }}:{{ t.least }} {% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
    writeFileSync(at('tools.jinja'), source)
    writeFileSync(at('tools.json'), '[{"name": "add", "least": 2.0}]')
    return ['--template', at('tools.jinja'), '--tools', at('tools.json'), '--template-options', '{"mood": "glad "}']
  }

  it('is told of tools and variables of its template', async () => {
    const data = at('conversations.jsonl')
    const messages = [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: 'a' },
    ]
    writeFileSync(data, [{ messages }, { messages, tools: [] }].map((row) => JSON.stringify(row)).join('\n'))
    const { json } = await moraJson('inspect', '--model', talker(), '--data', data, ...toolTemplate())
    const texts = json.rows.map(({ text }: { text: string }) => text.split('<')[0])
    expect(texts).toEqual(['glad add:2.0 ', 'glad '])
    const ask = ['generate', '--model', talker(), '--prompt', 'q', '--max-new-tokens', '1']
    const promptTokens = async (...more: string[]) => (await moraJson(...ask, ...more)).json.promptTokens
    const [told, untold] = [await promptTokens(...toolTemplate()), await promptTokens('--template', at('tools.jinja'))]
    const tokenizer = (await loadTokenizer(smallTokenizerFolder))!
    expect(told - untold).toBe((await tokenizer.encode('glad add:2.0 ')).length)
    const { exitCode, stderr } = await mora(...ask, '--raw', '--tools', at('tools.json'))
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining('--raw does not go with --tools'),
    })
  })

  it('is trained with them, and the run keeps how', async () => {
    const argv = ['train', '--model', talker(), '--data', at('conversations.jsonl'), '--max-steps', '1']
    const { exitCode, stderr } = await mora(...argv, '--output', at('told'), ...toolTemplate())
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 })
    const { options } = parse(readFileSync(at('told/run.yaml'), 'utf8'))
    expect(options).toMatchObject({ tools: at('tools.json'), templateOptions: { mood: 'glad ' } })
    const again = await mora('train', '--config', at('told/run.yaml'), '--output', at('told-again'))
    expect(again).toMatchObject({ exitCode: 0 })
  })

  it('takes a text over the columns of rows', async () => {
    const data = ['--model', talker(), '--data', at('columns.jsonl')]
    writeFileSync(at('columns.jsonl'), '{"query": "one", "response": 2.0}\n{"query": "two", "response": "three"}')
    const text = ['--text', '{query}\\n{{=}} {response}']
    const { json } = await moraJson('inspect', ...data, ...text)
    expect(json.rows.map((row: { text: string }) => row.text)).toEqual([
      '<|begin|>one\n{=} 2.0<|end|>',
      '<|begin|>two\n{=} three<|end|>',
    ])
    expect(await moraJson('eval', '--task', 'perplexity', ...data, ...text)).toMatchObject({ exitCode: 0 })
    for (const [argv, code, message] of [
      [
        ['eval', '--task', 'recall', ...text],
        'unfit-options',
        '--text belongs to the task perplexity or logprobs or forgetting',
      ],
      [['inspect', '--text', 'query'], 'bad-value', 'a text with columns in braces, such as {question} for --text'],
      [['inspect', '--text', '{answer}'], 'malformed-row', 'columns.jsonl:1: the text has the column "answer"'],
    ] as const) {
      const { json } = await moraJson(...argv, ...data)
      expect(json.error).toMatchObject({ code, message: expect.stringContaining(message) })
    }
  })

  it('is trained on a mixture that a YAML file names, and goes on with it', async () => {
    const sources = [
      { path: at('rows.jsonl'), weight: 1 },
      { path: at('pairs.jsonl'), weight: 3 },
    ]
    writeFileSync(at('pairs.jsonl'), '{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}')
    writeFileSync(at('mixed.yaml'), stringify({ model: talker(), data: sources, output: at('mixed'), maxSteps: 2 }))
    const { exitCode, stderr } = await mora('train', '--config', at('mixed.yaml'), '--batch-size', '4')
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 })
    expect(parse(readFileSync(at('mixed/run.yaml'), 'utf8')).options.data).toEqual(sources)
    const again = await mora('train', '--config', at('mixed/run.yaml'), '--resume')
    expect(again).toMatchObject({ exitCode: 0 })
    const byFlags = ['--data', at('rows.jsonl'), '--data', at('pairs.jsonl'), '--data-weight', '3', '--max-steps', '2']
    const same = await mora('train', '--model', talker(), ...byFlags, '--output', at('flags'), '--batch-size', '4')
    expect(same).toMatchObject({ exitCode: 0 })
    const weightsOf = (name: string) => readFileSync(at(`${name}/adapter_model.safetensors`)).toString('hex')
    expect(weightsOf('flags')).toBe(weightsOf('mixed'))
    for (const weight of [0, -1, 'much']) {
      const data = [sources[0], { ...sources[1], weight }]
      writeFileSync(at('odd.yaml'), stringify({ model: talker(), data, output: at('odd') }))
      const { json } = await moraJson('train', '--config', at('odd.yaml'))
      expect(json.error).toMatchObject({
        code: 'bad-value',
        message: expect.stringMatching(/\{path, weight\} for data in/),
      })
    }
    writeFileSync(at('odd.yaml'), stringify({ model: talker(), data: [sources[0]], task: 'perplexity' }))
    const { json } = await moraJson('eval', '--config', at('odd.yaml'))
    expect(json.error).toMatchObject({ code: 'bad-value', message: expect.stringContaining('without weights') })
  })

  it('reports rows that are longer than its limit', async () => {
    const inspect = (...more: string[]) => mora('inspect', '--model', talker(), '--data', at('rows.jsonl'), ...more)
    expect((await inspect('--max-length', '65')).stderr).toContain('the model was trained on at most 64')
    expect((await inspect('--max-length', '64')).stderr).not.toContain('was trained on at most')
  })

  const talk = (input: string, isTTY: boolean, ...more: string[]) => {
    const options = ['--template', templatePath('chatml'), '--max-new-tokens', '3', ...more]
    return moraOn({ input, isTTY }, 'chat', talker(), ...options)
  }

  it('talks on a terminal, and begins anew after /clear', async () => {
    const { exitCode, stdout, stderr } = await talk('one\ntwo\n\n/clear\none\n', true)
    expect(exitCode).toBe(0)
    expect(stderr).toContain('/clear starts a new conversation, /exit or Ctrl-D ends, Ctrl-C ends an answer.')
    const [, first, second, empty, cleared, again, end] = stdout.split('> ')
    expect([first, second, again].every((answer) => answer!.endsWith('\n\n'))).toBe(true)
    expect({ empty, cleared, again, end }).toEqual({ empty: '', cleared: '', again: first, end: '\n' })
  })

  it('goes on after a message that cannot be answered, and ends with /exit', async () => {
    const { exitCode, stdout, stderr } = await talk(`one\n${'x'.repeat(500)}\n/stop\none\n/exit\ntwo\n`, true)
    expect(exitCode).toBe(0)
    expect(stderr).toMatch(/positions.*\nExpected a message, \/clear, \/help or \/exit but received \/stop\.\n$/)
    expect(
      stdout
        .split('> ')
        .slice(1)
        .map((said) => said !== ''),
    ).toEqual([true, false, false, true, false])
  })

  it('ends an answer at Ctrl-C, and goes on with the conversation as it was before', async () => {
    const options = ['chat', talker(), '--template', templatePath('chatml'), '--max-new-tokens', '30']
    const whole = await moraOn({ input: 'two\n', isTTY: true }, ...options)
    let presses = 1
    const onWrite = (text: string) => {
      if (!text.startsWith('> ') && presses-- > 0) process.emit('SIGINT', 'SIGINT')
    }
    const { exitCode, stdout } = await moraOn({ input: 'one\ntwo\n', isTTY: true, onWrite }, ...options)
    expect(exitCode).toBe(0)
    const [, cut, answer] = stdout.split('> ')
    const [, alone] = whole.stdout.split('> ')
    expect(answer).toBe(alone)
    expect(cut!.length).toBeLessThan(alone!.length)
  })

  it('answers the lines of a pipe, one for each, and nothing else', async () => {
    const { stdout, stderr } = await talk('one\n/clear\none\n', false)
    const [first, again, ...rest] = stdout.split('\n')
    expect({ again, rest, stderr }).toEqual({ again: first, rest: [''], stderr: '' })
    const { stdout: asJson } = await talk('one\n', false, '--json')
    expect(JSON.parse(asJson)).toMatchObject({ text: first, newTokens: 3 })
    const { exitCode, stderr: refused } = await talk('/stop\none\n', false)
    expect({ exitCode, refused }).toEqual({ exitCode: 2, refused: expect.stringContaining('received /stop') })
  })

  it('also talks where mora generate has no prompt, and needs one where there is no terminal', async () => {
    const options = ['generate', '--model', talker(), '--template', templatePath('chatml'), '--max-new-tokens', '3']
    const chat = await moraOn({ input: 'one\n', isTTY: true }, ...options)
    expect(chat.stdout).toBe((await talk('one\n', true)).stdout)
    const { exitCode, stdout, stderr } = await mora('generate', '--model', talker())
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toContain('Missing --prompt')
  })

  it('is measured by mora eval', async () => {
    writeFileSync(at('text.txt'), 'Some words to measure, and some more of them.')
    const { exitCode, json } = await moraJson(
      ...words`
      eval --model ${talker()} --task perplexity --data ${at('text.txt')}
    `,
    )
    expect(exitCode).toBe(0)
    expect(Object.keys(json)).toEqual(['perplexity', 'loss', 'tokens', 'targets'])
    expect(json.perplexity).toBeCloseTo(Math.exp(json.loss), 6)
    const { stdout } = await mora('eval', '--model', talker(), '--task', 'perplexity', '--data', at('text.txt'))
    expect(stdout).toContain(`tokens      ${json.tokens}\n`)
  })

  it('forgets nothing by being what it was, and is compared with something', async () => {
    writeFileSync(at('text.txt'), 'Some words to measure, and some more of them.')
    const argv = ['eval', '--model', talker(), '--task', 'forgetting', '--data', at('text.txt')]
    const { exitCode, json } = await moraJson(...argv, '--base', talker())
    expect(exitCode).toBe(0)
    expect(Object.keys(json)).toEqual(['forgetting', 'change', 'before', 'after', 'tokens', 'targets'])
    expect(json).toMatchObject({ forgetting: 0, before: json.after })
    expect((await mora(...argv, '--base', talker())).stdout).toMatch(/^forgetting +0$/m)
    const alone = await mora(...argv)
    expect(alone.exitCode).toBe(2)
    expect(alone.stderr).toContain('Missing --adapter or --base')
  })
})

describe('mora doctor', () => {
  it('--check computes what other machines do', async () => {
    const { exitCode, json } = await moraJson('doctor', '--check')
    expect(json.check.results.filter(({ passed }: { passed: boolean }) => !passed)).toEqual([])
    expect(json.check).toMatchObject({ passed: true, architecture: process.arch, node: process.version })
    expect(exitCode).toBe(0)
  })

  it('--check names what a faulty operation changes, or cannot compute', async () => {
    const binary = loadBinary() as Native
    const rope = vi.spyOn(binary, 'rope').mockImplementation(() => {})
    const convolution = vi.spyOn(binary, 'causalConvolution').mockImplementation(() => {
      throw new Error('no memory')
    })
    try {
      const { exitCode, stdout } = await mora('doctor', '--check')
      expect(exitCode).toBe(1)
      expect(stdout).toMatch(/^FAILED +[\d.]+e-\d of 1e-5 +rotary embedding and attention, float32$/m)
      expect(stdout).toMatch(/^FAILED +no memory +convolution, float32$/m)
      expect(stdout).toMatch(/^FAILED .* a training step of llama, float32$/m)
      expect(stdout).toMatch(/^FAILED .* a training run of the demo model/m)
      expect(stdout).toMatch(/^ok +[\d.]+e[+-]\d+ of 1e-5 +RMS norm, float32$/m)
      expect(stdout).toMatch(/^\d+ of \d+ checks failed: .*$/m)
    } finally {
      rope.mockRestore()
      convolution.mockRestore()
    }
  })

  it('says what this machine can do', async () => {
    const { exitCode, json } = await moraJson('doctor', '--threads', '1')
    expect(exitCode).toBe(0)
    expect(json).toMatchObject({ threads: 1, devices: [{ kind: 'cpu', index: 0 }] })
    expect(json.libraries.map(({ name }: { name: string }) => name)).toContain('oneDNN')
    expect((await mora('doctor')).stdout).toMatch(/^device cpu:0 /m)
  })

  needing(lacksBuild).it('fails where the addon cannot be loaded', () => {
    const environment = { ...process.env, MORA_BINARY: at('absent.node') }
    const { status, stdout } = spawnSync(process.execPath, [command, 'doctor'], { env: environment, encoding: 'utf8' })
    expect(stdout).toContain('error: The native addon could not be loaded')
    expect(status).toBe(1)
  })
})
