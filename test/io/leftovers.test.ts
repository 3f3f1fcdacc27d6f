import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { replaceFolder, writeFileAtomic } from '../../lib/io/atomic.js'
import { removeLeftovers, temporaryBeside } from '../../lib/io/leftovers.js'
import { processTag } from '../../lib/io/process-identity.js'
import { fileOf, useTemporaryFolder } from './temporary.js'

const folder = useTemporaryFolder()
const { pid: ended } = spawnSync('true')
const hidden = (name: string, pid: number, tag: string, ending = 'tmp') => `.${name}.${pid}-${tag}0123abcd.${ending}`
const leftBy = (name: string, ending?: string) => hidden(name, ended, processTag(ended), ending)

describe('leftovers of killed processes', () => {
  it.each([
    ['a file', (path: string) => writeFileAtomic(join(path, 'other'), '')],
    ['a folder', (path: string) => replaceFolder(join(path, 'other'), async () => {})],
  ])('are removed when the next one writes %s there', async (_, write) => {
    fileOf(folder(), leftBy('metrics.jsonl'), 'half')
    mkdirSync(join(folder(), leftBy('model'), 'deep'), { recursive: true })
    await write(folder())
    expect(readdirSync(folder())).toEqual(['other'])
  })

  it('are distinguished from what others write now, here or on another machine', async () => {
    const living = basename(temporaryBeside(join(folder(), 'model'), 'tmp'))
    const elsewhere = hidden('model', ended, 'f'.repeat(12))
    for (const name of [living, elsewhere, '.model.tmp', 'model']) fileOf(folder(), name, '')
    // A later process with the number of this one.
    fileOf(folder(), hidden('model', process.pid, processTag().slice(0, 6) + '0'.repeat(6)), '')
    await removeLeftovers(folder())
    expect(readdirSync(folder()).sort()).toEqual([living, elsewhere, '.model.tmp', 'model'].sort())
  })

  it('go back to their place if nothing has taken it', async () => {
    for (const name of ['lost', 'replaced']) {
      mkdirSync(join(folder(), leftBy(name, 'old')))
      writeFileSync(join(folder(), leftBy(name, 'old'), 'content'), 'old')
    }
    mkdirSync(join(folder(), 'replaced'))
    await removeLeftovers(folder())
    expect(readdirSync(folder()).sort()).toEqual(['lost', 'replaced'])
    expect(readFileSync(join(folder(), 'lost', 'content'), 'utf8')).toBe('old')
    expect(existsSync(join(folder(), 'replaced', 'content'))).toBe(false)
  })
})
