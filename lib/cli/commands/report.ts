import { dirname, join } from 'node:path'
import { formatBytes } from '../../common/bytes.js'
import { requireFreeOutput } from '../../io/free-output.js'
import { ReportSchema } from '../../options/index.js'
import { defineCommand, OPTIONS_OF_MODELS } from '../command.js'
import { requireFolder } from '../paths.js'
import { formatFacts } from '../terminal/format.js'

export const reportCommand = defineCommand({
  name: 'report',
  summary: 'write the runs of a folder as one HTML file that needs no network',
  schema: ReportSchema,
  idle: OPTIONS_OF_MODELS,
  positional: ['folder'],
  examples: ['mora report out', 'mora report runs --output report.html'],
  check({ folder, output = join(folder, DEFAULT_NAME), overwrite }) {
    requireFolder('folder', folder)
    const inputs = RUN_FILES.map((name) => join(dirname(output), name))
    requireFreeOutput('file', output, { inputs, overwrite })
  },
  async run({ folder, output = join(folder, DEFAULT_NAME) }, { note }) {
    const { writeReport } = await import('../../dashboard/report.js')
    const { runs, leftOut, bytes } = await writeReport({ folder, output })
    if (leftOut > 0) note(`${leftOut} more runs are left out; give a folder below for a report of them`)
    const text = formatFacts([
      ['output', output],
      ['runs', String(runs)],
      ['size', formatBytes(bytes)],
    ])
    return { json: { output, runs, bytes }, text }
  },
})

const DEFAULT_NAME = 'report.html'
/** The files of a run that a report reads. */
const RUN_FILES = ['metrics.jsonl', 'run.yaml', 'samples.jsonl', 'rollouts.jsonl']
