import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ADAPTER, LARGE, usePush } from './use-push.js'

const { hub, folder, write, push, remote } = usePush()
const names = () => [...remote().keys()].sort()
const OWN = ['README.md', ...Object.keys(ADAPTER)].sort()

test.each([
  ['README.md', 'a file'],
  ['config.json', 'a file'],
  ['model', 'a folder'],
  ['checkpoints', 'a folder'],
  ['more', 'a folder'],
])('a link is not followed out of the folder: %s to %s', async (name, kind) => {
  write(ADAPTER)
  const outside = mkdtempSync(join(tmpdir(), 'mora-outside-'))
  try {
    writeFileSync(join(outside, 'secret.txt'), 'secret')
    symlinkSync(kind === 'a file' ? join(outside, 'secret.txt') : outside, join(folder(), name))
    await expect(push({ checkpoints: true, include: ['more'] })).rejects.toMatchObject({ code: 'linked-file' })
    expect(hub().standIn.requests).toEqual([])
  } finally {
    rmSync(outside, { recursive: true })
  }
})

test('a link that is not part of the push is skipped, and a circular one is not followed', async () => {
  write(ADAPTER)
  symlinkSync('.', join(folder(), 'itself'))
  symlinkSync('nowhere', join(folder(), 'broken'))
  await push()
  expect(names()).toEqual(OWN)
  expect(hub().warnings).toEqual(['Left out: broken, itself. The option include can name further files to upload.'])
  await expect(push({ include: ['itself'] })).rejects.toMatchObject({
    code: 'linked-file',
    message: expect.stringMatching(/^".*itself" is a link, and links are not uploaded/),
  })
})

const OTHERS = {
  id_rsa: 'key',
  'key.pem': 'key',
  'credentials.json': '{}',
  'train.jsonl': '{}',
  'plots/loss.svg': '<svg/>',
}

test('a file that is not part of an adapter, a model or a run is skipped and named', async () => {
  write({ ...ADAPTER, ...OTHERS })
  await push()
  expect(names()).toEqual(OWN)
  expect(hub().warnings).toEqual([
    'Left out: credentials.json, id_rsa, key.pem, plots/, train.jsonl. The option include can name further files to upload.',
  ])
})

test('such a file is pushed if it is named, or if the user agrees', async () => {
  write({ ...ADAPTER, ...OTHERS })
  await push({ include: ['plots/', 'train.jsonl'] })
  expect(names()).toEqual([...OWN, 'plots/loss.svg', 'train.jsonl'].sort())
  const asked: string[][] = []
  const answer = (is: boolean) => (others: readonly string[]) => {
    expect(hub().standIn.requests.length).toBe(before)
    asked.push([...others])
    return is
  }
  let before = hub().standIn.requests.length
  await push({ confirm: answer(false) })
  expect(names()).not.toContain('id_rsa')
  before = hub().standIn.requests.length
  await push({ confirm: answer(true), include: ['plots'] })
  expect(names()).toEqual([...OWN, ...Object.keys(OTHERS)].sort())
  expect(asked[1]).toEqual(['credentials.json', 'id_rsa', 'key.pem', 'train.jsonl'])
  await expect(push({ include: ['.env'] })).rejects.toMatchObject({
    code: 'missing-file',
    message: expect.stringMatching(/^There is no file or folder "\.env" in ".*" that could be included\.$/),
  })
})

test('all files of a model are pushed: shards, its index, its tokenizer and its template', async () => {
  const model = {
    'config.json': '{}',
    'generation_config.json': '{}',
    'model-00001-of-00001.safetensors': LARGE,
    'model.safetensors.index.json': '{}',
    'tokenizer.json': '{}',
    'tokenizer_config.json': '{}',
    'special_tokens_map.json': '{}',
    'chat_template.jinja': 'x',
    'tokenizer.model': 'x',
    'quantize_config.json': '{}',
    LICENSE: 'x',
  }
  mkdirSync(join(folder(), 'tensorboard'))
  write({ ...ADAPTER, ...model })
  await push()
  expect(names()).toEqual([...OWN, ...Object.keys(model)].sort())
  expect(hub().warnings).toEqual([])
})
