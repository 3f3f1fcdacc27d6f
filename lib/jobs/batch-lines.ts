/** Lines of batches: requests, and answers that are written. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { isJsonObject, jsonIn } from '../io/json.js'
import { lineRecords } from '../rows/files/json.js'
import { readLines } from '../rows/files/lines.js'
import type { RequestBatch } from './records.js'

/** A request of a batch. */
export interface BatchRequest {
  readonly custom_id: string
  readonly url: string
  readonly body: Readonly<Record<string, unknown>>
}

const MOST_REQUESTS = 50_000
/** Maximum number of problems that a batch tells. */
const MOST_PROBLEMS = 100
const NEWLINE = 0x0a

/** Yields the requests of a file that was checked when it was uploaded. */
export async function* requestsIn(path: string, name: string): AsyncGenerator<BatchRequest & { line: number }> {
  let line = 0
  for await (const { value, where } of lineRecords(createReadStream(path), name)) {
    line = Number(/:(\d+)$/.exec(where)?.[1] ?? line + 1)
    yield { ...(value as BatchRequest), line }
  }
}

/** Returns the number of requests, and why the lines are not a batch of an endpoint. */
export async function checkRequests(path: string, { endpoint, filename }: RequestBatch, signal: AbortSignal) {
  const ids = new Set<string>()
  const problems: RequestBatch['problems'] = []
  let total = 0
  for await (const { custom_id: id, url, line } of requestsIn(path, filename)) {
    signal.throwIfAborted()
    const add = (name: string, message: string) => problems.push({ code: name, message, line })
    if (++total > MOST_REQUESTS) add('too_many_tasks', `A batch has at most ${MOST_REQUESTS} requests.`)
    if (url !== endpoint) add('mismatched_url', `Expected ${endpoint} for url, as the batch says, but received ${url}.`)
    if (ids.has(id)) add('duplicate_custom_id', `The custom_id ${JSON.stringify(id)} is that of an earlier line.`)
    ids.add(id)
    if (problems.length >= MOST_PROBLEMS || total > MOST_REQUESTS) break
  }
  return { total, problems }
}

/** Returns the ids of the answers in a file. A line that a killed process has left incomplete is removed. */
export async function writtenIds(path: string): Promise<string[]> {
  const ids: string[] = []
  if (!(await endAtLine(path))) return ids
  for await (const { text } of readLines(createReadStream(path), path)) {
    const line = jsonIn(text)
    if (isJsonObject(line) && typeof line.custom_id === 'string') ids.push(line.custom_id)
  }
  return ids
}

/** Shortens a file to its whole lines. Returns whether there are any. */
async function endAtLine(path: string): Promise<boolean> {
  const handle = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (!handle) return false
  try {
    let { size: end } = await handle.stat()
    const block = Buffer.alloc(2 ** 16)
    while (end > 0) {
      const from = Math.max(0, end - block.length)
      const { bytesRead } = await handle.read(block, 0, end - from, from)
      const last = block.subarray(0, bytesRead).lastIndexOf(NEWLINE)
      end = last < 0 ? from : from + last + 1
      if (last >= 0) break
    }
    await handle.truncate(end)
    return end > 0
  } finally {
    await handle.close()
  }
}
