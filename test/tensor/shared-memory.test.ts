/** Memory that processes share: writes for all, writes of one reader, and refusals. */
import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { type NativeTensor, native } from '../../lib/native/addon.js'
import { liveBytes } from '../live-bytes.js'

const device = native.openDevice('cpu', 0, 2)
const start = liveBytes(device)
afterAll(async () => {
  await device.synchronize()
  expect(liveBytes(device)).toBe(start)
})

const PAGE = 2 ** 16

function created(): number {
  const descriptor = native.createSharedMemory()
  onTestFinished(() => closeSync(descriptor))
  return descriptor
}

function made(tensor: NativeTensor): NativeTensor {
  onTestFinished(() => tensor.dispose())
  return tensor
}

const FLOATS = 4

function fill(memory: NativeTensor, value: number): void {
  const floats = memory.as('float32', [FLOATS], 0)
  native.fill(floats, value)
  floats.dispose()
}

const valuesOf = (memory: NativeTensor, offset = 0) => made(memory.as('float32', [FLOATS], offset)).read()
const all = (value: number) => new Float32Array(FLOATS).fill(value)

it('its content is visible to all who map it, and outlives its descriptor', async () => {
  const descriptor = native.createSharedMemory()
  const first = native.mapToWrite(device, descriptor, 0, 16)
  const second = native.mapToWrite(device, descriptor, PAGE, 16)
  fill(first, 1)
  fill(second, 2)
  // In stream order: the memory is freed once that is done.
  for (const part of [first, second]) part.dispose()
  await device.synchronize()
  const read = made(native.mapToRead(device, descriptor, PAGE + 16, 1))
  closeSync(descriptor)
  expect(await valuesOf(read)).toEqual(all(1))
  expect(await valuesOf(read, PAGE)).toEqual(all(2))
})

it("a reader's writes are private", async () => {
  const descriptor = created()
  const written = made(native.mapToWrite(device, descriptor, 0, 16))
  fill(written, 1)
  await device.synchronize()
  const [one, other] = [1, 2].map(() => made(native.mapToRead(device, descriptor, 16, 2))) as [
    NativeTensor,
    NativeTensor,
  ]
  fill(one, 3)
  expect(await valuesOf(one)).toEqual(all(3))
  expect(await valuesOf(other)).toEqual(all(1))
  const bytes = new Uint8Array(16)
  readSync(descriptor, bytes)
  expect(new Float32Array(bytes.buffer)).toEqual(all(1))
})

it('counts in part for each of its readers', async () => {
  const descriptor = created()
  // Memory of the previous test is freed on the stream.
  await device.synchronize()
  const before = liveBytes(device)
  const written = native.mapToWrite(device, descriptor, 0, 3 * PAGE)
  expect(liveBytes(device) - before).toBe(3 * PAGE)
  written.dispose()
  await device.synchronize()
  expect(liveBytes(device)).toBe(before)
  made(native.mapToRead(device, descriptor, 3 * PAGE, 3))
  expect(liveBytes(device) - before).toBe(PAGE)
})

it('is never truncated, which would kill its readers', () => {
  const descriptor = created()
  made(native.mapToWrite(device, descriptor, 0, 16))
  expect(() => ftruncateSync(descriptor, 8)).toThrow('EPERM')
})

it('refuses memory that does not exist, in a sentence', () => {
  const descriptor = created()
  expect(() => native.mapToRead(device, descriptor, 16, 1)).toThrow(
    'Expected at most the 0 bytes that processes share, and readers, but received 16 and 1.',
  )
  made(native.mapToWrite(device, descriptor, 0, 16))
  expect(() => native.mapToRead(device, descriptor, 16, 0)).toThrow(/but received 16 and 0\.$/)
  expect(() => native.mapToWrite(device, descriptor, 8, 16)).toThrow(
    'Memory that processes share could not be mapped: Invalid argument.',
  )
  // More than a process's address space; no page of it is ever touched.
  expect(() => native.mapToWrite(device, descriptor, 0, 2 ** 52)).toThrow(
    'Memory that processes share could not be mapped: Cannot allocate memory.',
  )
  const file = openSync(import.meta.filename, 'r')
  expect(() => native.mapToRead(device, file, 16, 1)).toThrow(
    'Memory that processes share could not be read: Invalid argument.',
  )
  closeSync(file)
  expect(() => native.mapToWrite(device, 999_999, 0, 16)).toThrow(
    'Memory that processes share could not be read: Bad file descriptor.',
  )
})
