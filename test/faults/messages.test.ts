/** Foreign text in a message, a result or a document is short, does not control the terminal, and contains no words of V8. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { moraOn } from '../cli/mora.js'
import { words } from '../cli/words.js'
import { StandIn } from '../hub/stand-in.js'
import { type GgufParts, ggufBytes, text as ggufText } from '../io/gguf-bytes.js'
import { quickFolder } from '../io/temporary.js'
import { smallTokenizerFolder } from '../text/tokenizer/small-tokenizer.js'
import { wrongWords } from './wrong-words.js'

const scratch = quickFolder()
const demo = resolve('assets/demo-model')
let at: (name: string) => string
let count = 0
beforeEach(() => {
  const folder = join(scratch, String(count++))
  mkdirSync(folder)
  at = (name) => join(folder, name)
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** Hostile text: sequences that clear a terminal, overrides of direction, lines, lone surrogates, and much of it. */
const short = '\u001b[2J\u001b]0;title\u0007\u009b31m\u202e\u2066\u2028\r\n\u007f'
const hostile = `${short}${'😀 word '.repeat(20_000)}${short}`
/** As the name of a file: neither slashes nor NUL, and 255 bytes at most. */
const fileName = `${short}${'😀'.repeat(20)}`

const mora = (...argv: string[]) => moraOn({ isTTY: true }, ...argv)

/** Runs a command that must refuse its input, in words and as a document. */
async function refuses(...argv: string[]): Promise<void> {
  const plain = await mora(...argv)
  expect(plain.exitCode, plain.stderr).toBeGreaterThan(0)
  expect(plain.stderr).toMatch(/^mora: .+\n$/m)
  expect(wrongWords(plain.stderr)).toEqual([])
  const { stdout } = await mora(...argv, '--json')
  expect(wrongWords(stdout, { most: Number.POSITIVE_INFINITY })).toEqual([])
  const { error } = JSON.parse(stdout) as { error: { code: string; message: string } }
  expect(wrongWords(error.message)).toEqual([])
  expect(error.code).not.toBe('unexpected')
}

/** Runs a command that accepts its input: the output has the text, but no control characters. */
async function shows(...argv: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await mora(...argv)
  expect(exitCode, stderr).toBe(0)
  expect(stdout + stderr).toContain('\\u001b')
  // Colours are the command's own.
  expect(
    wrongWords(stdout.replaceAll('\u001b[32m', '').replaceAll('\u001b[0m', ''), { most: Number.POSITIVE_INFINITY }),
  ).toEqual([])
  expect(wrongWords(stderr)).toEqual([])
  return stdout
}

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(at(name), content)
  return at(name)
}

/** The demo's model with other files. */
function modelWith(files: Record<string, string | Uint8Array>): string {
  const folder = at('model')
  mkdirSync(folder)
  for (const name of readdirSync(demo)) if (!(name in files)) symlinkSync(join(demo, name), join(folder, name))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  return folder
}

const row = JSON.stringify({ prompt: 'a', completion: 'b' })
const json = JSON.stringify

describe('words of', () => {
  const inspect = (content: string, name = 'rows.jsonl') =>
    refuses('inspect', '--model', demo, '--data', file(name, content))

  test('a template that refuses', () =>
    refuses(
      'inspect',
      '--model',
      modelWith({ 'chat_template.jinja': `{{ raise_exception(messages[0].content) }}` }),
      ...[
        '--data',
        file(
          'rows.jsonl',
          json({
            messages: [
              { role: 'user', content: hostile },
              { role: 'assistant', content: 'x' },
            ],
          }),
        ),
      ],
    ))
  test.each([
    ['an open expression', '{{ '],
    ['an empty condition', '{% if %}'],
    ['a long text', `{{ "${'x'.repeat(5000)}" + messages }}`],
    ['what has no value', '{{ messages.x.y }}'],
    ['control characters', `{{ ${short} }}`],
  ])('a template: %s', (_, source) =>
    refuses('inspect', '--model', demo, '--data', file('rows.jsonl', row), '--template', file('t.jinja', source)),
  )
  test('a lock of another machine', async () => {
    mkdirSync(at('run'))
    file('run/.lock', json({ pid: 1, host: hostile, started: null }))
    await refuses(
      ...words`
      train --model ${demo} --data ${file('rows.jsonl', row)} --output ${at('run')} --max-steps 1
    `,
    )
  })
  test.each([
    ['keys', `${json(hostile)}: 1`],
    ['values', `method: ${json(hostile)}`],
    ['what is no YAML', `a: [${short}`],
    ['aliases', `a: *${'x'.repeat(5000)}`],
    ['tags', `a: !<${'x'.repeat(5000)}> 1`],
    ['depth', '['.repeat(60_000)],
  ])('YAML: %s', (_, content) => refuses('train', '--config', file('options.yaml', content)))
  test.each<[string, Record<string, string>]>([
    ['an architecture', { 'config.json': json({ model_type: hostile }) }],
    ['an activation', { 'config.json': json({ model_type: 'llama', hidden_act: hostile }) }],
    ['keys of a configuration that are given twice', { 'config.json': `{${json(hostile)}: 1, ${json(hostile)}: 2}` }],
    ['what is no configuration', { 'config.json': `{"a": ${short}` }],
    ['a text that does not end', { 'config.json': `{"a": "${'x'.repeat(5000)}` }],
    ['the token that ends', { 'tokenizer_config.json': json({ eos_token: hostile }) }],
    ['types of a tokenizer', { 'tokenizer.json': json({ model: { type: hostile } }) }],
    ['what is no tokenizer', { 'tokenizer.json': `{"a" ${short}` }],
  ])('a model: %s', (_, files) => refuses('inspect', '--model', modelWith(files)))
  test('an index of weights', async () => {
    const model = modelWith({ 'model.safetensors.index.json': json({ weight_map: { [hostile]: hostile } }) })
    rmSync(join(model, 'model.safetensors'))
    await refuses('inspect', '--model', model)
  })
  test.each([
    ['a name', json({ [hostile]: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } })],
    ['a dtype', json({ a: { dtype: hostile, shape: [1], data_offsets: [0, 4] } })],
    ['metadata', json({ __metadata__: { [hostile]: 1 } })],
    ['what is no JSON', `{"${short}`],
  ])('safetensors: %s', (_, header) => {
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
    return refuses(
      'inspect',
      '--model',
      modelWith({ 'model.safetensors': Buffer.concat([length, Buffer.from(header)]) }),
    )
  })
  test.each<[string, GgufParts]>([
    ['an architecture', { metadata: [['general.architecture', ggufText(hostile)]] }],
    ['a key that is given twice', { metadata: Array(2).fill([hostile, ggufText('')]) }],
    ['a tensor', { tensors: [{ name: hostile, sizes: [1], type: 99, offset: 0 }] }],
    [
      'a tokenizer',
      {
        metadata: [
          ['general.architecture', ggufText('llama')],
          ['tokenizer.ggml.model', ggufText(hostile)],
        ],
      },
    ],
  ])('GGUF: %s', (_, parts) => refuses('inspect', '--model', file('a.gguf', ggufBytes(parts))))
  test.each([
    ['columns', `${json({ [hostile]: 1 })}`, 'rows.jsonl'],
    ['a line', `{"text": ${short}`, 'rows.jsonl'],
    ['a list', `[{"text": ${short}]`, 'rows.json'],
    ['a value', `{"text": ${short}`, 'rows.json'],
    ['an index that is none', json({ input_ids: ['x'.repeat(5000)] }), 'rows.jsonl'],
    ['a role', json({ messages: [{ role: hostile, content: 'x' }] }), 'rows.jsonl'],
    ['a header', `text,${'x'.repeat(5000)},${'x'.repeat(5000)}\n1,2,3`, 'rows.csv'],
    [
      'too few fields',
      `${Array.from({ length: 5000 }, (_, i) => `${short.replace(/\s/g, '')}${i}`).join(',')}\n1,2`,
      'rows.csv',
    ],
    ['cells', `${short.replace(/\s/g, '')},messages\n1,"[${short}"`, 'rows.csv'],
  ])('data: %s', (_, content, name) => inspect(content, name))
  test('names of files', async () => {
    await inspect('{"text":', `${fileName}.jsonl`)
    await refuses('inspect', '--model', at(fileName))
    mkdirSync(at(fileName))
    await refuses('inspect', '--model', at(fileName))
    await refuses('inspect', '--adapter', at(fileName))
    await refuses('report', at(fileName))
    await refuses('train', '--config', file(`${fileName}.yaml`, 'a: ['))
    await refuses('inspect', '--model', file(`${fileName}.gguf`, 'GGUF'))
  })
  test.each([
    ['a kind', { peft_type: hostile }],
    ['targets', { peft_type: 'LORA', r: 1, target_modules: `(${hostile}` }],
    ['a rank', { peft_type: 'LORA', r: hostile }],
    ['bias', { peft_type: 'LORA', r: 1, bias: hostile }],
    ['patterns', { peft_type: 'LORA', r: 1, rank_pattern: { [`(${hostile}`]: 1 } }],
  ])('an adapter: %s', async (_, config) => {
    mkdirSync(at('adapter'))
    file('adapter/adapter_config.json', json(config))
    const header = '{}'.padEnd(8)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(8n)
    file('adapter/adapter_model.safetensors', Buffer.concat([length, Buffer.from(header)]))
    await refuses('inspect', '--adapter', at('adapter'))
  })
  test('the command line', async () => {
    await refuses('train', `--${hostile}`)
    await refuses('train', '--method', hostile)
    await refuses(hostile)
    await refuses('inspect', hostile)
    await refuses('train', '--target-modules', `/(${hostile}/`, '--model', demo, '--data', 'x', '--output', at('out'))
  })
  test('tools and options of a template', async () => {
    const data = file('rows.jsonl', row)
    await refuses('inspect', '--model', demo, '--data', data, '--tools', file('tools.json', `[{"a": ${short}`))
    await refuses('inspect', '--model', demo, '--data', data, '--template-options', `{"a": ${short}`)
  })
})

describe('a run that is resumed', () => {
  const train = (...more: string[]) => words`
    train --model ${demo} --data ${at('rows.jsonl')} --output ${at('run')} --max-steps 2 --save-every 1 --rank 1
    --batch-size 1 ${more}
  `
  beforeEach(async () => {
    file('rows.jsonl', row)
    expect((await mora(...train())).exitCode).toBe(0)
  })

  test('says what changed, and what its checkpoints lack', async () => {
    const record = at('run/run.yaml')
    const yaml = json({ options: { method: 'mora', model: hostile, data: hostile, learningRate: hostile } })
    cpSync(record, `${record}.kept`)
    writeFileSync(record, yaml)
    await refuses(...train('--resume', '--max-steps', '3'))
    cpSync(`${record}.kept`, record)
    for (const step of readdirSync(at('run/checkpoints')))
      file(
        `run/checkpoints/${step}/manifest.json`,
        json({ step: 1, files: { [hostile]: { bytes: 1, sha256: hostile } } }),
      )
    const { stderr } = await mora(...train('--resume', '--max-steps', '3'))
    expect(wrongWords(stderr.replaceAll('\r\u001b[K', ''))).toEqual([])
    expect(stderr).toMatch(/is skipped: \\u001b/)
  })
})

describe('what is shown', () => {
  test('of rows', async () => {
    const data = file('rows.jsonl', json({ text: `${short}word` }))
    const tokenizer = readFileSync(join(smallTokenizerFolder, 'tokenizer.json')) // byte tokens: it encodes any text
    const model = modelWith({ 'tokenizer.json': tokenizer, 'tokenizer_config.json': '{}' })
    const stdout = await shows('inspect', '--model', model, '--data', data)
    expect(stdout).toContain('\u001b[32m')
    const { stdout: document } = await mora('inspect', '--model', model, '--data', data, '--json')
    expect(wrongWords(document, { most: Number.POSITIVE_INFINITY })).toEqual([])
    expect((JSON.parse(document) as { rows: { text: string }[] }).rows[0]!.text).toContain(short)
  })

  test('of an adapter', async () => {
    file('rows.jsonl', row)
    const train = ['train', '--model', demo, '--data', at('rows.jsonl'), '--output', at('run'), '--max-steps', '1']
    expect((await mora(...train, '--rank', '1')).exitCode).toBe(0)
    const config = at('run/adapter_config.json')
    writeFileSync(config, json({ ...JSON.parse(readFileSync(config, 'utf8')), base_model_name_or_path: short }))
    rmSync(at('run/run.yaml'))
    await shows('inspect', '--adapter', at('run'))
  })

  test('of the place of a run', async () => {
    const run = at(fileName)
    mkdirSync(run)
    writeFileSync(join(run, 'metrics.jsonl'), '{"step":1,"loss":1}\n')
    await shows('report', run)
  })
})

describe('answers of a hub', () => {
  let hub: StandIn
  const before = { ...process.env }
  beforeAll(async () => {
    hub = await StandIn.start()
  })
  beforeEach(() => {
    Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HOME: at('home') })
  })
  afterEach(() => {
    hub.mend()
    process.env = { ...before }
  })
  afterAll(() => hub.stop())

  test.each<[string, number, Record<string, string>, string]>([
    ['a refusal', 403, { 'x-error-message': 'x'.repeat(5000) }, ''],
    ['a refusal of another kind', 418, { 'x-error-message': '\u009b31m' }, ''],
    ['names of files', 200, {}, json({ sha: 'a'.repeat(40), siblings: [{ rfilename: `../${hostile}` }] })],
    ['what is no JSON', 200, {}, `{"sha": ${short}`],
  ])('with %s', async (_, status, headers, body) => {
    hub.fail('hub', /./, (_, response) => void response.writeHead(status, headers).end(body), 100)
    await refuses('inspect', '--model', 'owner/name')
  })
})
