/** The hub's HTTP interface on loopback, as far as downloads need it; it fails in any way that a test chooses. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { TakesUploads } from './takes-uploads.js'

export interface StandInRepository {
  kind: 'model' | 'dataset'
  id: string
  files: Record<string, string | Uint8Array>
  commit?: string
  /** Branches and tags beside `main`. */
  revisions?: readonly string[]
  /** Files from this size on are stored elsewhere, under their sha256; 100 bytes. */
  largeFrom?: number
}

/** One request, as it came. */
export interface SeenRequest {
  host: 'hub' | 'store'
  method: string
  path: string
  authorization: string | undefined
  range: string | undefined
}

/** Called in place of the usual answer, which it can still send. */
export type Fault = (request: IncomingMessage, response: ServerResponse, answer: () => void) => void

export const sha256 = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
export const gitHash = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** A distinct commit for each name. */
export const commitOf = (name: string): string => createHash('sha1').update(name).digest('hex')

export class StandIn {
  readonly requests: SeenRequest[] = []
  /** The pushed commits. */
  readonly pushed = new TakesUploads(
    () => this.#hub,
    () => this.#store,
  )
  readonly #repositories = new Map<string, StandInRepository>()
  readonly #faults: { host: 'hub' | 'store'; pattern: RegExp; times: number; fault: Fault }[] = []
  readonly #servers: Server[] = []
  #hub = ''
  #store = ''

  static async start(): Promise<StandIn> {
    const standIn = new StandIn()
    standIn.#hub = await standIn.#listen('hub', async (request, response) => {
      if (!(await standIn.pushed.answerAsHub(request, response))) standIn.#answerAsHub(request, response)
    })
    standIn.#store = await standIn.#listen('store', async (request, response) => {
      if (/^(GET|HEAD)$/.test(request.method!) && !request.url!.startsWith('/v1/'))
        standIn.#answerAsStore(request, response)
      else await standIn.pushed.answerAsStore(request, response)
    })
    return standIn
  }

  get endpoint(): string {
    return this.#hub
  }

  /** The other host, which serves large files. */
  get store(): string {
    return this.#store
  }

  add(repository: StandInRepository): this {
    this.#repositories.set(`${repository.kind}s/${repository.id}`, repository)
    return this
  }

  /** Makes the next `times` requests with a matching method and path fail. */
  fail(host: 'hub' | 'store', pattern: RegExp, fault: Fault, times = 1): this {
    this.#faults.push({ host, pattern, times, fault })
    return this
  }

  /** Clears all planned failures. */
  mend(): void {
    this.#faults.length = 0
  }

  /** Requests for the content of files. */
  get downloads(): SeenRequest[] {
    return this.requests.filter(({ method, path }) => method === 'GET' && !path.startsWith('/api/'))
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  async #listen(host: 'hub' | 'store', answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>) {
    const server = createServer((request, response) => {
      const { method = '', url: path = '' } = request
      const { authorization, range } = request.headers
      this.requests.push({ host, method, path, authorization, range })
      const planned = this.#faults.find(
        (one) => one.host === host && one.times > 0 && one.pattern.test(`${method} ${path}`),
      )
      if (planned) planned.times--
      const usual = () => void answer(request, response).catch(() => response.destroy())
      if (planned) planned.fault(request, response, usual)
      else usual()
    })
    this.#servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  #answerAsHub(request: IncomingMessage, response: ServerResponse) {
    const [path] = request.url!.split('?')
    const asked = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/revision\/([^/]+)$/.exec(path!)
    if (asked) {
      const repository = this.#repositories.get(`${asked[1]}/${asked[2]}`)
      return repository
        ? tellRevision(repository, decodeURIComponent(asked[3]!), response)
        : refuse(response, 401, 'RepoNotFound')
    }
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path!)
    const repository = file && this.#repositories.get(`${file[1] ? 'datasets' : 'models'}/${file[2]}`)
    if (!file || !repository) return refuse(response, 401, 'RepoNotFound')
    const content = repository.files[decodeURIComponent(file[4]!)]
    if (content === undefined || file[3] !== commitIn(repository)) return refuse(response, 404, 'EntryNotFound')
    const bytes = Buffer.from(content)
    if (bytes.length < (repository.largeFrom ?? 100)) {
      response.setHeader('etag', `"${gitHash(bytes)}"`)
      send(request, response, bytes)
    } else {
      const name = sha256(bytes)
      response.writeHead(302, {
        'x-linked-etag': `"${name}"`,
        'x-linked-size': bytes.length,
        location: `${this.#store}/${name}?signature=secret`,
      })
      response.end()
    }
  }

  #answerAsStore(request: IncomingMessage, response: ServerResponse) {
    const [name] = request.url!.slice(1).split('?')
    const all = [...this.#repositories.values()].flatMap(({ files }) => Object.values(files))
    const content = all.find((bytes) => sha256(bytes) === name)
    if (content === undefined) return refuse(response, 403, 'Expired')
    send(request, response, Buffer.from(content))
  }
}

function tellRevision(repository: StandInRepository, revision: string, response: ServerResponse) {
  const sha = commitIn(repository)
  if (![sha, 'main', ...(repository.revisions ?? [])].includes(revision))
    return refuse(response, 404, 'RevisionNotFound')
  const siblings = Object.keys(repository.files).map((rfilename) => ({ rfilename }))
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ id: repository.id, sha, siblings }))
}

export const commitIn = ({ commit, id }: StandInRepository): string => commit ?? commitOf(id)

/** Sends the whole file, or from the requested byte on. */
function send(request: IncomingMessage, response: ServerResponse, bytes: Buffer) {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  if (start > 0 && start >= bytes.length) return refuse(response, 416, 'RangeNotSatisfiable')
  const part = bytes.subarray(start)
  response.writeHead(start > 0 ? 206 : 200, {
    'content-length': part.length,
    ...(start > 0 && { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
  })
  response.end(request.method === 'HEAD' ? undefined : part)
}

export function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'x-error-code': code, ...headers })
  response.end()
}

/** Announces all bytes of a file, sends the first `count`, and breaks the connection once they have had time to arrive. */
export const cutAfter =
  (count: number, bytes: Uint8Array): Fault =>
  (request, response) => {
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const headers = {
      'content-length': bytes.length - start,
      'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
    }
    response.writeHead(start > 0 ? 206 : 200, headers)
    response.write(bytes.subarray(start, start + count), () => setTimeout(() => response.destroy(), 50))
  }

/** Sends other bytes for any request. */
export const sendInstead =
  (bytes: Uint8Array): Fault =>
  (_, response) => {
    response.writeHead(200, { 'content-length': bytes.length })
    response.end(bytes)
  }

export const answerWith =
  (status: number, code = 'Fault', headers: Record<string, string> = {}): Fault =>
  (_, response) =>
    refuse(response, status, code, headers)
