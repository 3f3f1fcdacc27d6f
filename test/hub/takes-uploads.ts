/** The stand-in's HTTP interface for uploads: repositories, branches, LFS, Xet and commits. */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

export interface PushedRepository {
  private: boolean
  branches: Map<string, Map<string, Buffer>>
}

export interface Commit {
  branch: string
  summary: string
  files: string[]
}

/** How large files are uploaded: in one piece, in parts of a number of bytes, or as Xet's blocks, which are accepted unread. */
export type Transfer = 'basic' | { chunk: number } | 'xet'

interface LfsObject {
  oid: string
  size: number
}

type Operation = { key: string; value: { path: string; content?: string; oid?: string; summary?: string } }

/** Files from this size on are large, whatever their name. */
const LARGE_FROM = 1000

export class TakesUploads {
  readonly repositories = new Map<string, PushedRepository>()
  readonly commits: Commit[] = []
  /** Large files that have arrived, by their sha256. */
  readonly objects = new Map<string, Buffer>()
  /** Names of received Xet blocks and shards. */
  readonly blocks: string[] = []
  transfer: Transfer = 'basic'
  readonly #parts = new Map<string, Buffer[]>()

  constructor(
    readonly hub: () => string,
    readonly store: () => string,
  ) {}

  add(
    id: string,
    { isPrivate = false, files = {} }: { isPrivate?: boolean; files?: Record<string, string> } = {},
  ): void {
    const contents = Object.entries(files).map(([name, text]) => [name, Buffer.from(text)] as const)
    this.repositories.set(id, { private: isPrivate, branches: new Map([['main', new Map(contents)]]) })
  }

  filesOf(id: string, branch = 'main'): ReadonlyMap<string, Buffer> {
    return this.repositories.get(id)!.branches.get(branch)!
  }

  /** Returns whether it handled the request. */
  async answerAsHub(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const { method, url } = request
    const { pathname } = new URL(url!, this.hub())
    const asked = `${method} ${pathname}`
    const tell = (answer: unknown) => response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
    if (asked === 'POST /api/repos/create') {
      const { name, organization, visibility } = JSON.parse(await textOf(request))
      this.add(`${organization}/${name}`, { isPrivate: visibility === 'private' })
      tell({ url: `${this.hub()}/${organization}/${name}`, id: name })
      return true
    }
    const [, id, what, branchName = 'main'] =
      /^(?:\/api\/models)?\/([\w.-]+\/[\w.-]+?)(?:\/|\.git\/)(revision|branch|preupload|commit|info|xet-write-token|complete)(?:\/([^/]+))?/.exec(
        pathname,
      ) ?? []
    const repository = this.repositories.get(id ?? '')
    if (!repository) return false
    const branch = decodeURIComponent(branchName === 'HEAD' ? 'main' : branchName)
    const files = repository.branches.get(branch)
    if (what === 'revision') {
      if (!files) response.writeHead(404, { 'x-error-code': 'RevisionNotFound' }).end('{}')
      else tell({ id, private: repository.private, siblings: [...files.keys()].map((rfilename) => ({ rfilename })) })
    } else if (what === 'branch') {
      repository.branches.set(branch, new Map(repository.branches.get('main')))
      response.end()
    } else if (what === 'preupload') {
      const { files: asking } = JSON.parse(await textOf(request)) as { files: { path: string; size: number }[] }
      tell({ files: asking.map(({ path, size }) => ({ path, uploadMode: size < LARGE_FROM ? 'regular' : 'lfs' })) })
    } else if (what === 'info') {
      const { objects } = JSON.parse(await textOf(request)) as { objects: LfsObject[] }
      const transfer = typeof this.transfer === 'string' ? this.transfer : 'multipart'
      tell({ transfer, objects: objects.map((object) => this.#actionOf(object, id!)) })
    } else if (what === 'complete') {
      const { oid } = JSON.parse(await textOf(request)) as LfsObject
      this.#keep(oid, Buffer.concat(this.#parts.get(oid)!))
      response.end('{}')
    } else if (what === 'xet-write-token') tell({ accessToken: 'xet', casUrl: this.store(), exp: 4e9 })
    else this.#commit(repository, branch, await textOf(request), tell)
    return true
  }

  async answerAsStore(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, what, oid, part] = new URL(request.url!, this.store()).pathname.split('/')
    const bytes = await bytesOf(request)
    // No requested block exists yet.
    if (request.method === 'GET') return void response.writeHead(404).end()
    if (what === 'v1') this.blocks.push(request.url!)
    else if (part === undefined) this.#keep(oid!, bytes)
    else this.#parts.set(oid!, Object.assign(this.#parts.get(oid!) ?? [], { [Number(part) - 1]: bytes }))
    response.writeHead(200, { etag: `"${part}"`, 'content-type': 'application/json' }).end('{}')
  }

  #actionOf({ oid, size }: LfsObject, id: string) {
    const { transfer } = this
    if (this.objects.has(oid)) return { oid, size }
    if (transfer === 'basic') return { oid, size, actions: { upload: { href: `${this.store()}/objects/${oid}` } } }
    if (transfer === 'xet') {
      return {
        oid,
        size,
        actions: { upload: { href: `${this.hub()}/api/models/${id}/xet-write-token/main`, header: {} } },
      }
    }
    const count = Math.ceil(size / transfer.chunk)
    const parts = Array.from({ length: count }, (_, i) => [`${i + 1}`, `${this.store()}/parts/${oid}/${i + 1}`])
    const header = { chunk_size: `${transfer.chunk}`, ...Object.fromEntries(parts) }
    return { oid, size, actions: { upload: { href: `${this.hub()}/api/models/${id}/complete`, header } } }
  }

  #keep(oid: string, bytes: Buffer): void {
    if (createHash('sha256').update(bytes).digest('hex') === oid) this.objects.set(oid, bytes)
  }

  #commit(repository: PushedRepository, branch: string, body: string, tell: (answer: unknown) => void): void {
    const operations = body.split('\n').map((line) => JSON.parse(line) as Operation)
    const files = repository.branches.get(branch)!
    const names: string[] = []
    for (const { key, value } of operations.filter(({ key }) => key !== 'header')) {
      const bytes = key === 'file' ? Buffer.from(value.content!, 'base64') : this.objects.get(value.oid!)
      names.push(value.path)
      files.set(value.path, bytes ?? Buffer.from('in blocks'))
    }
    this.commits.push({ branch, summary: operations[0]!.value.summary!, files: names.sort() })
    const commitOid = createHash('sha1').update(body).digest('hex')
    tell({ success: true, commitOid, commitUrl: `${this.hub()}/commit/${commitOid}` })
  }
}

async function bytesOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

const textOf = async (request: IncomingMessage): Promise<string> => (await bytesOf(request)).toString('utf8')
