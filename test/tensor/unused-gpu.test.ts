/** A machine whose GPU cannot be used computes on its CPU, and says so once. */
import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, vi } from 'vitest'
import { absenceText, native } from '../../lib/native/addon.js'
import { lack, needing } from '../needs.js'

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  return { ...fs, existsSync: vi.fn(fs.existsSync) }
})

/** The message on a machine with this file of a GPU, or without one. */
async function openOn(file: string | null) {
  const { existsSync: real } = await vi.importActual<typeof import('node:fs')>('node:fs')
  vi.mocked(existsSync).mockImplementation((path) => path === file || (!/nv|wsl/.test(String(path)) && real(path)))
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const { openDevice } = await import('../../lib/tensor/device.js')
  expect(openDevice().kind).toBe('cpu')
  openDevice()
  return warn.mock.calls.map(([message]) => message)
}

beforeEach(() => vi.resetModules())
afterEach(() => vi.restoreAllMocks())

const cannot = native.whyUnavailable('cuda')

needing(lack('a machine without a GPU', cannot !== null)).it.each([
  '/dev/nvidia0',
  '/dev/nvhost-ctrl-gpu',
  '/usr/lib/wsl/lib/libcuda.so.1',
])('with %s it says why', async (file) => {
  expect(await openOn(file)).toEqual([
    `This machine has an NVIDIA GPU (${file}), but computes on the CPU: ${absenceText(cannot!)}.`,
  ])
})

needing(lack('a machine without a GPU', cannot !== null)).it('says nothing where there is no GPU', async () => {
  expect(await openOn(null)).toEqual([])
})
