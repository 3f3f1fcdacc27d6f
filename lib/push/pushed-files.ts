/** Which files of a folder make up an adapter, a model or a run that others can use. */
import { existsSync, statSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { UsageError } from '../errors.js'
import { readModelFolder } from '../io/model-folder.js'

export interface PushedFile {
  /** In the repository. */
  readonly name: string
  readonly path: string
  readonly bytes: number
}

export interface Pushed {
  readonly kind: 'adapter' | 'model' | 'gguf'
  readonly files: readonly PushedFile[]
}

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'

/** Folders that only a run that goes on needs: those of this package, of Hugging Face's Trainer and of DeepSpeed. */
const STATE_FOLDER = /^(checkpoints|merges|checkpoint-\d+|global_step\d+|__pycache__)$/
/** The same of files. */
const STATE_FILE = /^(optimizer\.(safetensors|pt|bin)|scheduler\.pt|scaler\.pt|rng_state[^/]*\.pth)$/

/**
 * Finds the files of an adapter, a model or a GGUF file. Of a run that changed the whole model, those of the model come to
 * the top. Hidden files are left out, and so are checkpoints unless they are asked for.
 * @throws UsageError `missing-file`, `not-an-adapter`, `not-a-model`; InputError `malformed-file` of a model's index
 */
export async function findPushed(path: string, { checkpoints = false } = {}): Promise<Pushed> {
  if (!existsSync(path)) throw new UsageError('missing-file', `There is no file or folder "${path}" to push.`)
  if (!statSync(path).isDirectory()) return { kind: 'gguf', files: [await ggufFile(path)] }
  const inside = (name: string) => existsSync(join(path, name))
  const files = await filesBelow(path, checkpoints)
  if (inside(CONFIG)) {
    if (inside(WEIGHTS)) return { kind: 'adapter', files }
    throw new UsageError('not-an-adapter', `The adapter in "${path}" has no ${WEIGHTS}.`)
  }
  if (inside('config.json')) {
    await readModelFolder(path)
    return { kind: 'model', files }
  }
  if (inside('model/config.json')) {
    await readModelFolder(join(path, 'model'))
    return { kind: 'model', files: files.map((file) => ({ ...file, name: file.name.replace(/^model\//, '') })) }
  }
  if (files.some(({ name }) => /^[^/]+\.gguf$/i.test(name))) return { kind: 'gguf', files }
  throw new UsageError(
    'not-a-model',
    `Expected a folder with ${CONFIG}, config.json or a .gguf file to push, but "${path}" has none.`,
  )
}

async function ggufFile(path: string): Promise<PushedFile> {
  if (!/\.gguf$/i.test(path)) {
    throw new UsageError('not-a-model', `Expected a folder or a .gguf file to push, but "${path}" is neither.`)
  }
  return { name: basename(path), path, bytes: (await stat(path)).size }
}

/** In the order of their names. */
async function filesBelow(folder: string, checkpoints: boolean, above = ''): Promise<PushedFile[]> {
  const found: PushedFile[] = []
  for (const entry of (await readdir(folder)).sort()) {
    const path = join(folder, entry)
    const facts = await stat(path).catch(() => null)
    // A link may lead to nothing.
    if (!facts) continue
    const isState = (facts.isDirectory() ? STATE_FOLDER : STATE_FILE).test(entry)
    if (entry.startsWith('.') || (isState && !checkpoints)) continue
    if (facts.isDirectory()) found.push(...(await filesBelow(path, checkpoints, `${above}${entry}/`)))
    else if (facts.isFile()) found.push({ name: `${above}${entry}`, path, bytes: facts.size })
  }
  return found
}
