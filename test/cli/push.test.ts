import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { StandIn } from '../hub/stand-in.js'
import { useStandInByVariables } from '../hub/use-stand-in.js'
import { mora, moraOn } from './mora.js'

const folder = mkdtempSync(join(tmpdir(), 'mora-cli-push-'))
const out = join(folder, 'out')
const standIn = useStandInByVariables(join(folder, 'home'))
let hub: StandIn

beforeAll(() => {
  hub = standIn()
  mkdirSync(out)
  writeFileSync(join(out, 'adapter_config.json'), '{}')
  writeFileSync(join(out, 'adapter_model.safetensors'), Buffer.alloc(200_000, 1))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const push = (...argv: string[]) => mora('push', ...argv)

test('mora push FOLDER OWNER/NAME uploads, shows progress, and prints the address', async () => {
  const { exitCode, stdout, stderr } = await push(out, 'owner/name', '--private', '--message', 'The first')
  expect(exitCode, stderr).toBe(0)
  expect(stdout).toMatch(/^page +http:.*\/owner\/name\ncommit +[0-9a-f]{40}\nfiles +3, 196 KiB\n$/)
  expect(stderr).toMatch(/^hashing owner\/name {2}\d+ %.*\nuploading owner\/name {2}\d+ %.* of 196 KiB/m)
  expect(stderr).not.toContain('hf_secret')
  expect(hub.pushed.repositories.get('owner/name')?.private).toBe(true)
  expect(hub.pushed.commits.at(-1)).toMatchObject({ branch: 'main', summary: 'The first' })
})

test('--json prints the result', async () => {
  const { stdout, stderr } = await push(
    '--path',
    out,
    '--repository',
    'owner/json',
    '--revision',
    'v2',
    '--json',
    '--quiet',
  )
  expect(JSON.parse(stdout)).toEqual({
    repository: 'owner/json',
    revision: 'v2',
    commit: expect.stringMatching(/^[0-9a-f]{40}$/),
    url: `${hub.endpoint}/owner/json/tree/v2`,
    files: 3,
    bytes: expect.any(Number),
  })
  expect(stderr).toBe('')
})

test('the token comes from the file if no variable has one', async () => {
  delete process.env.HF_TOKEN
  expect(await push(out, 'owner/file')).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/^mora: .*HF_TOKEN/),
  })
  mkdirSync(join(folder, 'home'), { recursive: true })
  writeFileSync(join(folder, 'home', 'token'), 'hf_of_the_file\n')
  expect(await push(out, 'owner/file')).toMatchObject({ exitCode: 0 })
  expect(hub.requests.at(-1)?.authorization).toBe('Bearer hf_of_the_file')
})

test.each([
  [['nowhere', 'owner/name'], /^mora: --path: there is no file or folder "nowhere"\.\n$/],
  [[out], /^mora: Missing --repository; it is required\.\n$/],
  [[out, 'name'], /^mora: Expected a repository as owner\/name for --repository but received "name"\.\n$/],
  [
    [out, 'owner/name', 'more'],
    /^mora: Expected one FOLDER and one OWNER\/NAME but received more: mora push --help\n$/,
  ],
  [[out, 'owner/name', '--path', 'other'], /^mora: Expected one FOLDER but received .*out and --path other\.\n$/],
  [[out, 'owner/name', '--offline'], /^mora: Nothing is pushed with --offline: leave it out\.\n$/],
])('mora push %j is wrong usage', async (argv, message) => {
  const { exitCode, stderr } = await push(...argv)
  expect(stderr).toMatch(message)
  expect(exitCode).toBe(2)
})

const withKey = () => {
  const folder = join(out, '..', 'with-key')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'm.gguf'), 'x')
  writeFileSync(join(folder, 'id_rsa'), 'key')
  return folder
}
const filesOf = (id: string) => [...hub.pushed.filesOf(id).keys()].sort()

test.each([
  ['y', ['README.md', 'id_rsa', 'm.gguf']],
  ['n', ['README.md', 'm.gguf']],
  ['', ['README.md', 'm.gguf']],
])('on a terminal it asks about files that are not part of a model; the answer is "%s"', async (answer, files) => {
  const terminal = { isTTY: true, input: answer === '' ? '' : `${answer}\n` }
  const { exitCode, stderr } = await moraOn(terminal, 'push', withKey(), `owner/asked${answer}`)
  expect(exitCode).toBe(0)
  expect(stderr).toMatch(/^id_rsa\nThese files are not part of .* Upload them too\? \[y\/N\] /)
  expect(filesOf(`owner/asked${answer}`)).toEqual(files)
})

test('without a terminal such a file is not uploaded, and a line names the flag that includes it', async () => {
  const { exitCode, stderr } = await push(withKey(), 'owner/key')
  expect(exitCode).toBe(0)
  expect(stderr).toMatch(/^note: Left out: id_rsa\. --include can name further files to upload\.\n/)
  expect(filesOf('owner/key')).not.toContain('id_rsa')
  await push(withKey(), 'owner/key', '--include', 'id_rsa')
  expect(filesOf('owner/key')).toContain('id_rsa')
})
