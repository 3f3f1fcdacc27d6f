import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { appendLine, replaceFolder, sha256File, writeFileAtomic, writeStreamAtomic } from '../../lib/io/atomic.js'
import { requireFreeSpace } from '../../lib/io/disk-space.js'
import { expectRejection, fileOf, useTemporaryFolder, writeFiles } from './temporary.js'

const folder = useTemporaryFolder()

describe('writeFileAtomic', () => {
  it('makes folders, replaces the content and leaves nothing else', async () => {
    const path = join(folder(), 'a/b/file.txt')
    await writeFileAtomic(path, 'old and longer')
    await writeFileAtomic(path, 'neü')
    expect(readFileSync(path, 'utf8')).toBe('neü')
    expect(readdirSync(join(folder(), 'a/b'))).toEqual(['file.txt'])
  })

  it('keeps the old file when writing fails', async () => {
    const path = fileOf(folder(), 'file.txt', 'old')
    const failing = writeStreamAtomic(path, async (handle) => {
      await handle.write('half')
      throw new Error('stopped')
    })
    await expect(failing).rejects.toThrow('stopped')
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(folder())).toEqual(['file.txt'])
  })

  it('says why a path cannot be written', async () => {
    const file = fileOf(folder(), 'file', '')
    await expectRejection(writeFileAtomic(join(file, 'below'), ''), 'write-failed', /below could not be written/)
  })
})

describe('replaceFolder', () => {
  it('T20 keeps files that do not give way, until it is done and however it ends', async () => {
    const target = join(folder(), 'out')
    writeFiles(target, new Map(['old', 'kept', 'deep/kept', 'both'].map((name) => [name, `former ${name}`])))
    symlinkSync('kept', join(target, 'link'))
    const isReplaced = (file: string) => file === 'old'
    const failing = replaceFolder(target, () => Promise.reject(new Error('stopped')), isReplaced)
    await expect(failing).rejects.toThrow('stopped')
    const build = (temporary: string) => writeFileAtomic(join(temporary, 'both'), 'new')
    await replaceFolder(target, build, isReplaced)
    expect((readdirSync(target, { recursive: true }) as string[]).sort()).toEqual([
      'both',
      'deep',
      'deep/kept',
      'kept',
      'link',
    ])
    expect(readFileSync(join(target, 'link'), 'utf8')).toBe('former kept')
    expect(readFileSync(join(target, 'both'), 'utf8')).toBe('new')
    expect(readdirSync(folder())).toEqual(['out'])
  })

  it('T20 puts a whole folder in the place of the old one', async () => {
    const target = join(folder(), 'out')
    const build = (name: string) => async (temporary: string) => {
      mkdirSync(join(temporary, 'deep'))
      writeFileSync(join(temporary, 'deep', name), name)
      return name
    }
    expect(await replaceFolder(target, build('one'))).toBe('one')
    expect(await replaceFolder(target, build('two'))).toBe('two')
    expect(readdirSync(join(target, 'deep'))).toEqual(['two'])
    expect(readdirSync(folder())).toEqual(['out'])
  })

  it('T20 leaves the old folder and no other when building fails', async () => {
    const target = join(folder(), 'out')
    mkdirSync(target)
    writeFileSync(join(target, 'kept'), '')
    const failing = replaceFolder(target, async (temporary) => {
      writeFileSync(join(temporary, 'half'), '')
      throw new Error('stopped')
    })
    await expect(failing).rejects.toThrow('stopped')
    expect(readdirSync(target)).toEqual(['kept'])
    expect(readdirSync(folder())).toEqual(['out'])
  })

  it('names the folder that was asked for in errors, not the temporary one', async () => {
    const target = join(folder(), 'out')
    const failing = replaceFolder(target, (temporary) =>
      writeFileAtomic(join(fileOf(temporary, 'file', ''), 'below'), ''),
    )
    await expectRejection(failing, 'write-failed', new RegExp(`^${target}/file/below could not be written: `))
  })

  it('replaces the folder behind a symbolic link', async () => {
    mkdirSync(join(folder(), 'real'))
    symlinkSync('real', join(folder(), 'link'))
    await replaceFolder(join(folder(), 'link'), async (temporary) => writeFileSync(join(temporary, 'new'), ''))
    expect(readdirSync(join(folder(), 'real'))).toEqual(['new'])
  })

  it('refuses to replace a file', async () => {
    const path = fileOf(folder(), 'file', '')
    await expectRejection(
      replaceFolder(path, async () => {}),
      'not-a-folder',
      /file exists and is not a folder/,
    )
  })
})

it('sha256File hashes the content', async () => {
  // The FIPS 180-2 example of "abc".
  const expected = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  expect(await sha256File(fileOf(folder(), 'abc', 'abc'))).toBe(expected)
})

it('appendLine adds a line', async () => {
  const path = join(folder(), 'log.jsonl')
  await appendLine(path, '{"a":1}')
  await appendLine(path, '{"a":2}')
  expect(readFileSync(path, 'utf8')).toBe('{"a":1}\n{"a":2}\n')
})

it('T19 requireFreeSpace refuses what no disk has room for', async () => {
  await requireFreeSpace(folder(), 1, 'A byte')
  await expectRejection(
    requireFreeSpace(folder(), 1e18, 'The model'),
    'disk-full',
    /The model takes 888 PiB, but only .* are free/,
  )
  if (existsSync('/proc')) await requireFreeSpace('/proc', 1e18, 'The model') // a file system that reports no size
})
