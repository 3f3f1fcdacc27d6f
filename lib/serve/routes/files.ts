/** `/v1/files`: rows for jobs, requests of batches, and the results of jobs. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { quoted } from '../../common/errors.js'
import { printable } from '../../common/printable.js'
import { writeFully } from '../../io/atomic.js'
import { requireFreeSpace } from '../../io/disk-space.js'
import { checkRows, type Jobs, newId, type StoredFile, UPLOAD_PURPOSES } from '../../jobs/index.js'
import { ApiError } from '../api-error.js'
import { EXPIRY, wrongField } from '../fields.js'
import { type FormPart, formParts } from '../multipart.js'
import { pageOf } from '../pages.js'
import type { ClientRoutes, JobAsked } from '../serving.js'

/** Maximum number of bytes of a file, as OpenAI has it, of the form around it, of a field, and of a file's name. */
const MOST_OF_A_FILE = 2 ** 29
const MOST_AROUND = 2 ** 16
const MOST_OF_A_FIELD = 2 ** 10
const MOST_OF_A_NAME = 255

export const FILE_ROUTES: ClientRoutes = {
  '/v1/files': { GET: listFiles, POST: upload },
  '/v1/files/:id': { GET: retrieve, DELETE: remove },
  '/v1/files/:id/content': { GET: content },
}

async function upload(request: Request, jobs: Jobs, { owner }: JobAsked): Promise<Response> {
  const length = Math.min(Number(request.headers.get('content-length') ?? 0), MOST_OF_A_FILE)
  await requireFreeSpace(jobs.store.folder, length, 'The file')
  const file = await jobs.store.addFile(newId('file-'), async (path) => {
    const fields = new Map<string, string>()
    let received: { filename: string; bytes: number } | undefined
    for await (const part of formParts(request, MOST_OF_A_FILE + MOST_AROUND)) {
      if (part.name !== 'file') fields.set(part.name, await textOf(part))
      else if (received) throw wrongField('file', 'Expected one file but received several.')
      else received = { filename: nameOf(part), bytes: await write(part, path) }
    }
    const purpose = UPLOAD_PURPOSES.find((one) => one === fields.get('purpose'))
    if (!purpose) throw wrongPurpose(fields.get('purpose'))
    if (!received) throw wrongField('file', 'Expected a file but it is missing.')
    const facts = await checkRows(path, received.filename, purpose)
    return { owner, ...received, ...facts, purpose, expiresAt: expiryIn(fields) }
  })
  return Response.json(fileObject(file))
}

const wrongPurpose = (given: string | undefined) =>
  wrongField(
    'purpose',
    `Expected ${UPLOAD_PURPOSES.join(' or ')} for purpose but ${given === undefined ? 'it is missing' : `received ${quoted(given)}`}.`,
  )

async function listFiles(request: Request, jobs: Jobs, { owner }: JobAsked): Promise<Response> {
  const query = new URL(request.url).searchParams
  const [purpose, order] = [query.get('purpose'), query.get('order') ?? 'desc']
  if (order !== 'asc' && order !== 'desc') {
    throw wrongField('order', `Expected asc or desc for order but received ${quoted(order)}.`)
  }
  const files = jobs.files(owner).filter((file) => purpose === null || file.purpose === purpose)
  if (order === 'asc') files.reverse()
  return Response.json(pageOf(files.map(fileObject), request.url, { usual: 10_000, most: 10_000 }))
}

async function retrieve(_: Request, jobs: Jobs, { id, owner }: JobAsked): Promise<Response> {
  return Response.json(fileObject(jobs.file(id, owner)))
}

async function remove(_: Request, jobs: Jobs, { id, owner }: JobAsked): Promise<Response> {
  await jobs.store.removeFile(jobs.file(id, owner))
  return Response.json({ id, object: 'file', deleted: true })
}

async function content(_: Request, jobs: Jobs, { id, owner }: JobAsked): Promise<Response> {
  const file = jobs.file(id, owner)
  const stream = Readable.toWeb(createReadStream(jobs.store.contentOf(file))) as ReadableStream<Uint8Array>
  const type = file.purpose === 'fine-tune-results' ? 'text/csv; charset=utf-8' : 'application/jsonl'
  // The content is the client's: no browser is to take it for a page of this server.
  const headers = { 'content-type': type, 'content-length': String(file.bytes), 'x-content-type-options': 'nosniff' }
  return new Response(stream, { headers })
}

/** A file as OpenAI describes it. */
function fileObject({ id, bytes, createdAt, filename, purpose, expiresAt }: StoredFile) {
  return {
    id,
    object: 'file',
    bytes,
    created_at: Math.floor(createdAt / 1000),
    filename,
    purpose,
    status: 'processed',
    ...(expiresAt !== null && { expires_at: Math.floor(expiresAt / 1000) }),
  }
}

async function textOf({ name, content }: FormPart): Promise<string> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of content) {
    size += piece.length
    if (size > MOST_OF_A_FIELD) throw wrongField(name, `The field ${quoted(name)} is too long.`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString('utf8')
}

/** The last part of a path, which browsers once sent. */
function nameOf({ filename = 'file' }: FormPart): string {
  const name = printable(filename.split(/[/\\]/).at(-1)!)
  if (name.length <= MOST_OF_A_NAME) return name || 'file'
  throw wrongField('file', `The file's name has more than ${MOST_OF_A_NAME} characters.`)
}

async function write({ content }: FormPart, path: string): Promise<number> {
  const handle = await open(path, 'wx')
  try {
    let size = 0
    for await (const piece of content) {
      size += piece.length
      if (size > MOST_OF_A_FILE) {
        throw new ApiError(413, `The file is larger than ${MOST_OF_A_FILE} bytes.`, { code: 'body_too_large' })
      }
      await writeFully(handle, piece)
    }
    return size
  } finally {
    await handle.close()
  }
}

function expiryIn(fields: ReadonlyMap<string, string>): number | null {
  const [anchor, seconds] = [fields.get('expires_after[anchor]'), Number(fields.get('expires_after[seconds]'))]
  if (anchor === undefined && !fields.has('expires_after[seconds]')) return null
  const { least, most } = EXPIRY
  if (anchor === 'created_at' && Number.isInteger(seconds) && seconds >= least && seconds <= most) {
    return Date.now() + 1000 * seconds
  }
  throw wrongField(
    'expires_after',
    `Expected created_at as anchor, and from ${least} to ${most} seconds, for expires_after.`,
  )
}
