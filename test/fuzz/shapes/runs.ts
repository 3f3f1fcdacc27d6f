/** Folders of runs, as the dashboard and reports read them, and checkpoints. */
import { join } from 'node:path'
import { writeReport } from '../../../lib/dashboard/report.js'
import { Runs } from '../../../lib/dashboard/runs.js'
import { whyTorn } from '../../../lib/train/checkpoints/checkpoint-files.js'
import { long, many } from './models.js'
import { json, numbered, repeated, shapes } from './shape.js'
import { YAML_MOST } from './texts.js'

async function readRun(folder: string): Promise<void> {
  const runs = await Runs.in(folder)
  const { runs: found } = await runs.list()
  for (const { id } of found) {
    await runs.details(id)
    await runs.metrics(id, null)
  }
  await writeReport({ folder, output: join(folder, 'report.html') }).catch(() => {})
}

export const ofRuns = [
  ...shapes('run: metrics', 'run/metrics.jsonl', readRun, {
    steps: (bytes) => numbered(bytes, (i) => `{"step":${i},"loss":1}\n`),
    'steps that go back': (bytes) => numbered(bytes, (i) => `{"step":${i % 7}}\n`),
    'steps that fall': (bytes) => numbered(bytes, (i) => `{"step":${1e7 - i}}\n`),
    evaluations: (bytes) => numbered(bytes, (i) => `{"step":${i},"evalLoss":1}\n`),
    zeros: (bytes) => new Uint8Array(bytes),
    'empty lines': (bytes) => repeated('\n', bytes),
    'open lists': (bytes) => repeated('[', bytes),
    'no lines': (bytes) => repeated('{"step":1}', bytes),
  }),
  ...shapes('run: samples', 'run/samples.jsonl', readRun, {
    samples: (bytes) => repeated('{"step":1,"prompt":"","text":""}\n', bytes),
    'a long text': (bytes) => `${json({ step: 1, prompt: '', text: repeated('a', bytes) })}\n`,
  }).map((shape) => ({ ...shape, files: (bytes: number) => ({ ...shape.files(bytes), 'run/metrics.jsonl': '' }) })),
  ...shapes('run: lock', 'run/.lock', readRun, { 'a long host': (bytes) => json({ pid: 1, host: long(bytes) }) }).map(
    (shape) => ({ ...shape, files: (bytes: number) => ({ ...shape.files(bytes), 'run/metrics.jsonl': '' }) }),
  ),
  ...shapes(
    'run: run.yaml',
    'run/run.yaml',
    readRun,
    { keys: (bytes) => numbered(bytes, (i) => `k${i}: 1\n`) },
    YAML_MOST,
  ),
  ...shapes('checkpoint', 'manifest.json', (folder) => whyTorn(folder), {
    files: (bytes) => json({ files: Object.fromEntries(many(bytes / 32, (i) => [`f${i}`, { bytes: 1, sha256: '' }])) }),
  }),
]
