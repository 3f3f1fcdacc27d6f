import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { locate, type Wanted } from '../../lib/hub/index.js'
import { expectRejection, fileOf, useTemporaryFolder } from '../io/temporary.js'
import { commitOf } from './stand-in.js'
import { useStandIn } from './use-stand-in.js'

const hub = useStandIn()
const temporary = useTemporaryFolder()
const COMMIT = commitOf('owner/name')

/** A repository whose files hold their own names. */
const add = (files: readonly string[], contents: Record<string, string> = {}) =>
  hub().standIn.add({
    kind: 'model',
    id: 'owner/name',
    files: { ...Object.fromEntries(files.map((name) => [name, `this is ${name}`])), ...contents },
  })

const find = (text = 'owner/name', wanted: Wanted = 'model') => locate(text, wanted, hub().options)

/** Files of the snapshot that were downloaded. */
const brought = () =>
  hub()
    .namesIn('models--owner--name', 'snapshots', COMMIT)
    .filter((name) => /\.\w+$/.test(name))

describe('a model of the hub', () => {
  test('is its configuration, its safetensors, and the files of its tokenizer', async () => {
    const wanted = [
      'additional_chat_templates/tool_use.jinja',
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]
    add([
      ...wanted,
      'README.md',
      'pytorch_model.bin',
      'model.Q4_0.gguf',
      'onnx/model.onnx',
      'original/consolidated.00.pth',
      'tokenizer/readme.json',
    ])
    const located = await find()
    expect(located).toEqual({
      path: join(hub().cache, 'models--owner--name', 'snapshots', COMMIT),
      origin: { id: 'owner/name', repository: 'owner/name', revision: COMMIT },
      reference: `owner/name@${COMMIT}`,
    })
    expect(brought()).toEqual(wanted)
  })

  test('in shards is what its index lists', async () => {
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    const index = JSON.stringify({ weight_map: { a: shards[0], b: shards[1], c: shards[0] } })
    add(['config.json', ...shards, 'model.fp16-00001-of-00001.safetensors'], { 'model.safetensors.index.json': index })
    await find()
    expect(brought()).toEqual(['config.json', ...shards, 'model.safetensors.index.json'])
  })

  test('may have AutoGPTQ’s names', async () => {
    const names = ['gptq_model-4bit-128g.safetensors', 'quantize_config.json']
    add(['config.json', ...names, 'README.md'])
    await find()
    expect(brought()).toEqual(['config.json', ...names])
  })

  test('whose index lists missing files is refused before it is downloaded', async () => {
    add(['config.json', 'a.safetensors'], {
      'model.safetensors.index.json': JSON.stringify({ weight_map: { a: 'a.safetensors', b: 'b.safetensors' } }),
    })
    await expectRejection(
      find(),
      'missing-file',
      /^The model owner\/name lacks 1 of 2 files that model\.safetensors\.index\.json lists: b\.safetensors\.$/,
    )
    expect(brought()).toEqual(['model.safetensors.index.json'])
  })

  test('whose index leads out of the folder is refused', async () => {
    add(['config.json'], { 'model.safetensors.index.json': JSON.stringify({ weight_map: { a: '../../../../x' } }) })
    await expectRejection(find(), 'malformed-file', /which is no file of this folder/)
  })

  test('may be in a folder of a repository', async () => {
    add([
      'README.md',
      'small/config.json',
      'small/model.safetensors',
      'small/tokenizer.json',
      'config.json',
      'model.safetensors',
    ])
    const located = await find('owner/name/small')
    expect(located.path).toBe(join(hub().cache, 'models--owner--name', 'snapshots', COMMIT, 'small'))
    expect(located.reference).toBe(`owner/name@${COMMIT}/small`)
    expect(brought()).toEqual(['small/config.json', 'small/model.safetensors', 'small/tokenizer.json'])
  })

  const refused: [string, string[], string, RegExp][] = [
    [
      'that is an adapter',
      ['adapter_config.json', 'adapter_model.safetensors'],
      'not-a-model',
      /has no config\.json with safetensors, and no \.gguf file; it holds an adapter/,
    ],
    [
      'in pickles only',
      ['config.json', 'pytorch_model-00001-of-00002.bin'],
      'unsupported-format',
      /has its weights as pytorch_model-00001-of-00002\.bin, a pickle/,
    ],
    [
      'whose parts lie in folders',
      ['unet/config.json', 'vae/config.json'],
      'not-a-model',
      /given as owner\/name\/FOLDER: unet, vae/,
    ],
    ['without files', [], 'file-not-found', /is empty/],
  ]
  test.each(refused)('%s is refused', async (_, files, code, message) => {
    add(files)
    await expectRejection(find(), code, message)
  })

  test('in a missing folder is refused with a list of those that exist', async () => {
    add(['config.json', 'model.safetensors'])
    await expectRejection(
      find('owner/name/other'),
      'file-not-found',
      /^The model owner\/name has no file or folder other; it has config\.json, model\.safetensors\.$/,
    )
  })
})

describe('a GGUF model of the hub', () => {
  const several = [
    'README.md',
    'config.json',
    'm.Q4_K_M.gguf',
    'm.Q8_0.gguf',
    'deep/m-F16.gguf',
    'mmproj-m.gguf',
    'm.IQ4_K_M.gguf',
  ]

  test('is the one file where there is one', async () => {
    add(['config.json', 'README.md', 'm.Q8_0.gguf', 'mmproj-model-f16.gguf'])
    const located = await find()
    expect(located.origin!.id).toBe('owner/name/m.Q8_0.gguf')
    expect(located.reference).toBe(`owner/name@${COMMIT}/m.Q8_0.gguf`)
    expect(located.path).toMatch(/snapshots\/[0-9a-f]{40}\/m\.Q8_0\.gguf$/)
    expect(brought()).toEqual(['m.Q8_0.gguf'])
  })

  test.each([
    ['owner/name/m.Q8_0.gguf', 'm.Q8_0.gguf'],
    ['owner/name:Q4_K_M', 'm.Q4_K_M.gguf'],
    ['owner/name:q8_0', 'm.Q8_0.gguf'],
    ['owner/name:F16', 'deep/m-F16.gguf'],
    ['owner/name@main/deep', 'deep/m-F16.gguf'],
  ])('%s is %s', async (text, file) => {
    add(several)
    expect((await find(text)).origin!.id).toBe(`owner/name/${file}`)
    expect(brought()).toEqual([file])
  })

  test('of several must be named, and the error lists them', async () => {
    add(several)
    const list = /there are deep\/m-F16\.gguf, m\.IQ4_K_M\.gguf, m\.Q4_K_M\.gguf, m\.Q8_0\.gguf\.$/
    await expectRejection(
      find(),
      'ambiguous-model',
      /^The model owner\/name has 4 \.gguf files: name one, as owner\/name\/FILE\.gguf or owner\/name:Q4_K_M/,
    )
    await expectRejection(find(), 'ambiguous-model', list)
    await expectRejection(find('owner/name:Q2_K'), 'ambiguous-model', /has no \.gguf file of Q2_K: name one/)
    expect(brought()).toEqual([])
  })

  test('is refused if there is no GGUF file', async () => {
    add(['config.json', 'model.safetensors'])
    await expectRejection(find('owner/name:Q4_K_M'), 'file-not-found', /^The model owner\/name has no \.gguf file\.$/)
  })

  const parts = ['Q8_0/m-Q8_0-00001-of-00002.gguf', 'Q8_0/m-Q8_0-00002-of-00002.gguf']

  test.each([
    ['owner/name:Q8_0'],
    ['owner/name/Q8_0'],
    ['owner/name/Q8_0/m-Q8_0-00001-of-00002.gguf'],
    ['owner/name/Q8_0/m-Q8_0-00002-of-00002.gguf'],
  ])('in parts, %s, is all of them, and is called by the first', async (text) => {
    add([...parts, 'm-Q4_0.gguf'])
    const { origin, path } = await find(text)
    expect(origin!.id).toBe(`owner/name/${parts[0]}`)
    expect(path.endsWith(parts[0]!)).toBe(true)
    expect(brought()).toEqual(parts)
  })

  test('without one of its parts is refused', async () => {
    add([parts[1]!])
    await expectRejection(
      find(),
      'missing-file',
      /lacks 1 of 2 files that Q8_0\/m-Q8_0-00001.* lists: Q8_0\/m-Q8_0-00001/,
    )
    expect(brought()).toEqual([])
  })

  test('is not any other file', async () => {
    add(several)
    await expectRejection(
      find('owner/name/README.md'),
      'not-a-model',
      /Expected a \.gguf file or a folder, but README\.md/,
    )
  })
})

describe('an adapter of the hub', () => {
  test('is its two files, also of a folder', async () => {
    add([
      'adapter_config.json',
      'adapter_model.safetensors',
      'README.md',
      'other/adapter_config.json',
      'other/adapter_model.safetensors',
    ])
    await find('owner/name', 'adapter')
    expect(brought()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
    expect((await find('owner/name/other', 'adapter')).reference).toBe(`owner/name@${COMMIT}/other`)
  })

  test('without the files of an adapter is refused', async () => {
    add(['config.json', 'sub/adapter_config.json'])
    await expectRejection(
      find('owner/name', 'adapter'),
      'not-an-adapter',
      /has no adapter_model\.safetensors and no adapter_config\.json; a folder of it is given as owner\/name\/FOLDER: sub\.$/,
    )
    add(['adapter_config.json', 'adapter_model.bin'])
    await expectRejection(find('owner/name', 'adapter'), 'not-an-adapter', /but adapter_model\.bin, a pickle/)
    add(['config.json'])
    await expectRejection(find('owner/name', 'adapter'), 'not-an-adapter', /and no adapter_config\.json\.$/)
    await expectRejection(find('owner/name:Q4_K_M', 'adapter'), 'bad-value', /no variant, but ":Q4_K_M" was given/)
  })
})

describe('a tokenizer of the hub', () => {
  test('is its files alone, without weights', async () => {
    add(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
    await find('owner/name', 'tokenizer')
    expect(brought()).toEqual(['tokenizer.json', 'tokenizer_config.json'])
  })

  test('may come from a GGUF file, and must exist', async () => {
    add(['m.gguf'])
    expect((await find('owner/name', 'tokenizer')).path).toMatch(/m\.gguf$/)
    add(['config.json', 'model.safetensors'])
    await expectRejection(find('owner/name', 'tokenizer'), 'file-not-found', /has no tokenizer files/)
  })
})

describe('a path', () => {
  test('that exists always wins over an id, without a request', async () => {
    const before = process.cwd()
    mkdirSync(join(temporary(), 'owner/name'), { recursive: true })
    fileOf(temporary(), 'owner/file.gguf', '')
    process.chdir(temporary())
    try {
      for (const text of ['owner/name', 'owner/file.gguf', 'owner/name/missing.gguf', './nowhere', 'nowhere']) {
        expect(await find(text)).toEqual({ path: text, origin: null, reference: text })
      }
    } finally {
      process.chdir(before)
    }
    expect(hub().standIn.requests).toEqual([])
  })

  test('that is neither a path nor a repository is reported as both', async () => {
    await expectRejection(
      find('no/such'),
      'repository-not-found',
      /^"no\/such" is neither a file or folder here nor a model at http/,
    )
  })
})
