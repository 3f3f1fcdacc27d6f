/** Folders of runs: resumed after one of their files has changed, mostly with a manifest that says so. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { resolveWithConfig } from '../../../lib/options/config-file.js'
import { TrainSchema } from '../../../lib/options/index.js'
import { rows, trainTiny, writeRows } from '../../train/tiny-run.js'
import type { Files, Target } from '../cases.js'
import { mutateBytes } from '../mutate-bytes.js'
import { mutatedJson } from '../mutate-json.js'
import { mutateText } from '../mutate-text.js'
import { chance, choose, pick, type Random } from '../random.js'
import { mutateSafetensors } from './safetensors-file.js'
import { bytesOf, filesIn, jsonOf, textOf } from './tiny-model.js'

const optionsIn = (folder: string) => ({
  model: 'fake',
  data: join(folder, 'rows.jsonl'),
  output: join(folder, 'out'),
  batchSize: 4,
  maxSteps: 5,
  saveEvery: 2,
  evalData: join(folder, 'rows.jsonl'),
  evalEvery: 2,
  keepBest: true,
})

export async function checkpointTarget(): Promise<Target> {
  const samples = [await halfOfARun({}), await halfOfARun({ mergeEvery: 1 })]
  return {
    name: 'checkpoint',
    samples,
    mutate: mutateRun,
    async use(folder, sample) {
      const merges = [...sample.keys()].some((name) => name.includes('/merges/')) ? { mergeEvery: 1 } : {}
      await trainTiny({ ...optionsIn(folder), ...merges, resume: true })
      resolveWithConfig(TrainSchema, { config: join(folder, 'out', 'run.yaml') })
    },
  }
}

async function halfOfARun(more: { mergeEvery?: number }): Promise<Files> {
  const folder = mkdtempSync(join(tmpdir(), 'mora-fuzz-run-'))
  try {
    writeRows(folder, 'rows.jsonl', rows(6))
    await trainTiny({ ...optionsIn(folder), ...more }, {}, (event, run) => {
      if (event.type === 'step' && event.step === 4) void run.stop()
    })
    return filesIn(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function mutateRun(random: Random, files: Files): Files {
  const newest = [...files.keys()].filter((name) => /step-000004|run\.yaml|metrics|merges/.test(name))
  const name = pick(random, newest)
  const content = mutateFile(random, files, name)
  const changes = new Map([[name, content]])
  const manifest = join(dirname(name), 'manifest.json')
  if (files.has(manifest) && name !== manifest && chance(random, 0.8)) {
    changes.set(manifest, withHash(files, manifest, basename(name), Buffer.from(content)))
  }
  return changes
}

function mutateFile(random: Random, files: Files, name: string): string | Uint8Array {
  if (name.endsWith('.json')) return mutatedJson(random, jsonOf(files, name))
  if (name.endsWith('.safetensors')) return mutateSafetensors(random, bytesOf(files, name))
  return choose<string | Uint8Array>(random, [
    [3, () => mutateText(random, textOf(files, name))],
    [1, () => mutateBytes(random, bytesOf(files, name))],
  ])
}

function withHash(files: Files, manifest: string, name: string, content: Uint8Array): string {
  const json = jsonOf(files, manifest) as { files: Record<string, object> }
  json.files[name] = { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') }
  return JSON.stringify(json)
}
