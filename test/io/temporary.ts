import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect } from 'vitest'
import type { MoraError } from '../../lib/common/errors.js'

/** Gives each test a folder of its own, and removes it after the test. */
export function useTemporaryFolder(): () => string {
  let folder: string | null = null
  afterEach(() => {
    if (folder) rmSync(folder, { recursive: true, force: true })
    folder = null
  })
  return () => {
    folder ??= mkdtempSync(join(tmpdir(), 'mora-io-'))
    return folder
  }
}

/** A new folder in a file system in memory if there is one: for tests that write and sync many files. */
export function quickFolder(): string {
  let parent = '/dev/shm'
  try {
    accessSync(parent, constants.W_OK)
  } catch {
    parent = tmpdir()
  }
  return mkdtempSync(join(parent, 'mora-quick-'))
}

/** Writes files by their paths in a folder. */
export function writeFiles(folder: string, files: ReadonlyMap<string, string | Uint8Array>): void {
  for (const [name, content] of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
}

/** Writes bytes to a new file and returns its path. */
export function fileOf(folder: string, name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** Expects a rejection with this code, whose message matches. */
export async function expectRejection(promise: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  const error = await promise.then(
    () => null,
    (reason: MoraError) => reason,
  )
  expect(error, 'it should have been refused').not.toBeNull()
  expect({ code: error!.code, message: error!.message }).toEqual({ code, message: expect.stringMatching(message) })
}
