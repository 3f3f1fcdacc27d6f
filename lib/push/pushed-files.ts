/** Chooses the files of a folder that make up an adapter, a model or a run for others to use. */
import { existsSync, statSync } from 'node:fs'
import { lstat, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { UsageError } from '../common/errors.js'
import { companionFiles, embeddingFiles, modelFolders, quantiserFiles, readModelFolder } from '../io/model-folder.js'

interface PushedFile {
  /** Path in the repository. */
  readonly name: string
  readonly path: string
  readonly bytes: number
}

export interface Pushed {
  readonly kind: 'adapter' | 'model' | 'gguf'
  readonly files: readonly PushedFile[]
  /** Names in the folder that are not part of an adapter, a model or a run; folders end in a slash. */
  readonly others: readonly string[]
}

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'

/** Files of adapters, models and runs, except tokenizer files. */
const CONTENT =
  /^(README\.md|LICEN[CS]E[^/]*|NOTICE[^/]*|run\.yaml|(metrics|samples)\.jsonl|report\.html|(adapter_)?config\.json|[^/]+\.safetensors(\.index\.json)?|[^/]+\.gguf)$/i
const EVENTS = /^tensorboard\/events\.out\.tfevents\.[^/]+$/
/** Folders that contain some of these files. */
const PARTS = /^(model|tensorboard)$/
const isPart = (path: string): boolean => PARTS.test(path) || modelFolders.test(path.replace(/^model\//, ''))

/** Folders needed only to continue a run: of this package, of Hugging Face's Trainer and of DeepSpeed. */
const STATE_FOLDER = /^(checkpoints|merges|checkpoint-\d+|global_step\d+|__pycache__)$/
/** Files needed only to continue a run. */
const STATE_FILE = /^(optimizer\.(safetensors|pt|bin)|scheduler\.pt|scaler\.pt|rng_state[^/]*\.pth)$/

interface Choice {
  /** Whether to include files that are needed only to continue a run. */
  readonly checkpoints?: boolean | undefined
  /** Other files and folders to include, by their names in the folder. */
  readonly include?: readonly string[] | undefined
}

/**
 * Finds the files of an adapter, a model or a GGUF file. For a run that trained the whole model, the model's files move to the
 * top folder. Leaves out hidden files and, unless requested, checkpoints.
 * @throws UsageError `missing-file`, `not-an-adapter`, `not-a-model`, `linked-file`; InputError `malformed-file` of a model's
 * index
 */
export async function findPushed(path: string, choice: Choice = {}): Promise<Pushed> {
  if (!existsSync(path)) throw new UsageError('missing-file', `There is no file or folder "${path}" to push.`)
  if (!statSync(path).isDirectory()) return { kind: 'gguf', files: [await ggufFile(path)], others: [] }
  const inside = (name: string) => existsSync(join(path, name))
  const { files, others } = await chosenFiles(path, choice)
  if (inside(CONFIG)) {
    if (inside(WEIGHTS)) return { kind: 'adapter', files, others }
    throw new UsageError('not-an-adapter', `The adapter in "${path}" has no ${WEIGHTS}.`)
  }
  if (inside('config.json')) {
    await readModelFolder(path)
    return { kind: 'model', files, others }
  }
  if (inside('model/config.json')) {
    await readModelFolder(join(path, 'model'))
    return { kind: 'model', files: files.map((file) => ({ ...file, name: file.name.replace(/^model\//, '') })), others }
  }
  if (files.some(({ name }) => /^[^/]+\.gguf$/i.test(name))) return { kind: 'gguf', files, others }
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

/** Lists files in the order of their names. Does not follow links, which may lead out of the folder. */
async function chosenFiles(root: string, { checkpoints = false, include = [] }: Choice) {
  const included = include.map((name) => name.replace(/\/+$/, ''))
  const files: PushedFile[] = []
  const others: string[] = []
  const walk = async (above: string, all: boolean): Promise<void> => {
    for (const entry of (await readdir(join(root, above), { withFileTypes: true })).sort(byName)) {
      const name = `${above}${entry.name}`
      if (entry.name.startsWith('.')) continue
      const isState = STATE_FOLDER.test(entry.name) || STATE_FILE.test(entry.name)
      if (isState && !checkpoints) continue
      const isIncluded = all || isState || included.includes(name)
      if (entry.isSymbolicLink() && (isIncluded || isContent(name) || isPart(name))) throw linked(join(root, name))
      if (entry.isDirectory()) {
        if (isIncluded || isPart(name)) await walk(`${name}/`, isIncluded)
        else others.push(`${name}/`)
      } else if (entry.isFile() && (isIncluded || isContent(name))) {
        const path = join(root, name)
        files.push({ name, path, bytes: (await lstat(path)).size })
      } else others.push(name)
    }
  }
  await walk('', false)
  const missing = included.find((one) => !files.some(({ name }) => name === one || name.startsWith(`${one}/`)))
  if (missing === undefined) return { files, others }
  throw new UsageError('missing-file', `There is no file or folder "${missing}" in "${root}" that could be included.`)
}

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1)

/** Whether a file is part of an adapter, a model or a run. */
function isContent(path: string): boolean {
  const name = path.replace(/^model\//, '')
  const isOfModel = [CONTENT, companionFiles, embeddingFiles].some((names) => names.test(name))
  return isOfModel || quantiserFiles.includes(name) || EVENTS.test(path)
}

function linked(path: string): UsageError {
  return new UsageError(
    'linked-file',
    `"${path}" is a link, and links are not uploaded, since they may lead out of the folder: put a copy in its place, or remove it.`,
  )
}
