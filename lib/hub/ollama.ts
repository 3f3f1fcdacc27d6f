/**
 * Models that Ollama stores: `ollama:NAME`, NAME as Ollama writes it: `[[host/]namespace/]model[:tag]`. A manifest lists a model's
 * layers, which are files named after their hashes; names and fields come from Ollama's manifest, layer and configuration.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { quoted, UsageError } from '../common/errors.js'
import { isJsonObject, readJsonObject } from '../io/json.js'
import { malformed } from '../io/open.js'
import { readAs } from '../io/read-as.js'

const SCHEME = 'ollama:'
const NAME = /^(?:(?:(\w[\w.:-]*)\/)?(\w[\w.-]*)\/)?(\w[\w.-]*?)(?::(\w[\w.-]*))?$/

/** The folders of manifests: the first is that of newer versions. */
const MANIFESTS = ['manifests-v2', 'manifests']
/** The runners whose models are GGUF files, the preferred one first. */
const RUNNERS = ['ollama', 'llamacpp']

interface Blob {
  readonly path: string
  /** SHA-256, 64 hexadecimal digits. */
  readonly hash: string
}

/** A model that Ollama stores. */
interface OllamaModel {
  /** `ollama:NAME`, as the user gave it. */
  readonly reference: string
  /** The GGUF file of the model, then the GGUF files of its LoRA adapters. */
  readonly blobs: readonly [Blob, ...Blob[]]
  /** A sentence about layers that are not used; null if there are none. */
  readonly notice: string | null
}

const Digest = z.string().regex(/^sha256[:-][0-9a-f]{64}$/, 'expected sha256: and 64 hexadecimal digits')
const Layer = z.object({ mediaType: z.string(), digest: Digest, size: z.int().min(0) })
const Manifest = z.object({ config: Layer.nullish(), layers: z.array(Layer).max(2 ** 16) })
const ManifestList = z.object({ manifests: z.array(z.looseObject({ runner: z.string().optional() })) })
const Listed = z.object({ digest: Digest })
type Manifest = z.infer<typeof Manifest>
type Layer = z.infer<typeof Layer>

/** Whether a text names a model of Ollama, unless it is an existing path. */
export const isOllamaName = (text: string): boolean => text.startsWith(SCHEME) && !existsSync(text)

/**
 * Finds the files of a model that Ollama stores.
 * @param text `ollama:NAME`
 * @throws UsageError `bad-value` for what is no name, `missing-file`, `not-a-model`, `unsupported-format`
 * @throws InputError `malformed-json`, `malformed-file` with the manifest or the layer
 */
export async function findOllamaModel(text: string): Promise<OllamaModel> {
  const name = text.slice(SCHEME.length)
  const parts = NAME.exec(name)
  if (!parts) {
    throw new UsageError(
      'bad-value',
      `${quoted(text)} is no name of Ollama's; ollama:NAME or ollama:NAME:TAG was expected.`,
    )
  }
  const [, host = 'registry.ollama.ai', namespace = 'library', model, tag = 'latest'] = parts
  const folder = process.env.OLLAMA_MODELS || join(homedir(), '.ollama', 'models')
  const path = MANIFESTS.map((kind) => join(folder, kind, host, namespace, model!, tag)).find(existsSync)
  if (path === undefined) {
    throw new UsageError(
      'missing-file',
      `Ollama has no model ${model}:${tag} of ${host}/${namespace} in ${folder} (OLLAMA_MODELS names another folder; \`ollama pull ${name}\` downloads it).`,
    )
  }
  const blobs = join(folder, 'blobs')
  const { config, layers } = await readManifest(path, blobs)
  const ofKind = (kind: string) =>
    layers.filter(({ mediaType }) => mediaType === `application/vnd.ollama.image.${kind}`)
  const last = ofKind('model').at(-1)
  if (last === undefined) throw await whyWithout(text, ofKind('tensor').length > 0, config, blobs)
  return {
    reference: text,
    blobs: [
      await blobOf(last, 'model', path, blobs),
      ...(await Promise.all(ofKind('adapter').map((layer) => blobOf(layer, 'adapter', path, blobs)))),
    ],
    notice: noticeOf(text, ofKind),
  }
}

/**
 * Checks the hashes of files against their names.
 * @throws InputError `malformed-file`
 */
export async function requireHashes({ blobs }: OllamaModel, signal?: AbortSignal): Promise<void> {
  for (const { path, hash } of blobs) {
    const sum = createHash('sha256')
    for await (const bytes of createReadStream(path, { highWaterMark: 2 ** 22, signal })) sum.update(bytes)
    const found = sum.digest('hex')
    if (found !== hash) throw malformed(path, `its SHA-256 is ${found}: pull or create the model again`)
  }
}

async function readManifest(path: string, blobs: string): Promise<Manifest> {
  const json = await readJsonObject(path)
  if (!('manifests' in json)) return checked(Manifest, json, path)
  const { manifests } = checked(ManifestList, json, path)
  const chosen = RUNNERS.map((wanted) => manifests.find(({ runner }) => runner === wanted)).find(Boolean)
  if (chosen === undefined) {
    const others = manifests.map(({ runner }) => quoted(runner)).join(', ')
    throw new UsageError(
      'unsupported-format',
      `${path} lists no manifest of the runners ${RUNNERS.join(' and ')}, whose models are GGUF files, but of ${others || 'none'}.`,
    )
  }
  if ('layers' in chosen) return checked(Manifest, chosen, path)
  const { digest } = checked(Listed, chosen, path)
  const { path: blob } = pathOf(digest, blobs)
  return checked(Manifest, await readJsonObject(blob), blob)
}

function checked<Value>(schema: z.ZodType<Value>, json: unknown, path: string): Value {
  const refuse = (problem: string) => malformed(path, `it is no manifest of Ollama's: ${problem}`)
  return readAs(schema, json, 'the manifest', refuse)
}

function pathOf(digest: string, blobs: string): Blob {
  const hash = digest.slice(-64)
  return { path: join(blobs, `sha256-${hash}`), hash }
}

async function blobOf({ digest, size }: Layer, what: string, manifest: string, blobs: string): Promise<Blob> {
  const blob = pathOf(digest, blobs)
  const facts = await stat(blob.path).catch(() => null)
  if (!facts) throw new UsageError('missing-file', `${manifest} has its ${what} in ${blob.path}, which does not exist.`)
  if (facts.size === size) return blob
  throw malformed(manifest, `its ${what} has ${size} bytes, but ${blob.path} has ${facts.size}`)
}

async function whyWithout(name: string, hasTensors: boolean, config: Manifest['config'], blobs: string) {
  if (hasTensors) {
    return new UsageError(
      'unsupported-format',
      `${name} is stored tensor by tensor as safetensors (for MLX), which is not supported: a layer with a GGUF file was expected.`,
    )
  }
  const facts = config && (await readJsonObject(pathOf(config.digest, blobs).path).catch(() => null))
  const remote = isJsonObject(facts) ? facts.remote_host : undefined
  const why = typeof remote === 'string' ? `it runs at ${quoted(remote)}` : 'its manifest has no layer with a model'
  return new UsageError('not-a-model', `${name} is not stored on this machine: ${why}.`)
}

/** Descriptions of the unused layers, by Ollama's names. */
const UNUSED = {
  template: 'template',
  system: 'system message',
  messages: 'messages',
  params: 'parameters',
} as const

function noticeOf(name: string, ofKind: (kind: string) => readonly Layer[]): string | null {
  const unused = Object.entries(UNUSED).flatMap(([kind, words]) => (ofKind(kind).length > 0 ? [words] : []))
  const notes = [
    unused.length > 0 &&
      `${name}: what Ollama stores beside the model is not used (${unused.join(', ')}; \`ollama show\` prints it): conversations have the GGUF file's chat template, and a system message and sampling are options.`,
    ofKind('projector').length > 0 && `${name}: its projector of images is not read: this is the text model alone.`,
  ]
  return notes.filter(Boolean).join(' ') || null
}
