import { basename } from 'node:path'
import { stringify } from 'yaml'
import { allMethods } from '../../adapters/registry.js'
import { isCommit, parseHubId } from '../../hub/index.js'
import { sharedName } from '../../io/paths.js'
import { pipelineTag, useSection } from '../../push/model-use.js'
import { describeSource, pathsOf, type RecordedSource } from '../../rows/sources/source.js'
import type { RunFacts } from '../run-facts.js'
import type { TrainerState } from '../trainer-state.js'

/** Returns the `README.md` of an output folder: what was trained on what, and how to use it. */
export function modelCard(
  facts: RunFacts,
  state: TrainerState,
  { isAdapter, resultStep }: { isAdapter: boolean; resultStep: number | null },
): string {
  const { options, hashes, trainable, versions } = facts
  const model = sharedName(String(options.model ?? 'unknown'))
  const base = repositoryOf(model) ?? model
  const sources = [options.data].flat() as RecordedSource[]
  const method = String(options.method)
  const datasets = pathsOf(sources).flatMap((path) => repositoryOf(sharedName(path)) ?? [])
  const isPefts = allMethods().some(({ name, readByPeft }) => name === method && readByPeft)
  const library = isPefts ? 'peft' : 'node-mora'
  const use = (['classify', 'reward', 'embed'] as const).find((name) => name === options.objective) ?? 'generate'
  const header = {
    base_model: base,
    ...(datasets.length > 0 && { datasets }),
    library_name: isAdapter ? library : 'transformers',
    pipeline_tag: pipelineTag(use),
    tags: ['node-mora', method],
  }
  const rows: [string, unknown][] = [
    ['Base model', `${model} (sha256 ${hashes.model.slice(0, 16)})`],
    ['Method', [method, options.operator, options.rank && `rank ${options.rank}`].filter(Boolean).join(', ')],
    ['Trained values', trainable.parameters.toLocaleString('en-US')],
    ['Data', sources.map((source) => describeSource(source, sharedName)).join(', ')],
    ['Steps', state.step],
    ['Tokens', state.tokens.toLocaleString('en-US')],
    ['Learning rate', [options.learningRate, options.scheduler].filter(Boolean).join(', ')],
    ['Rows per step', options.batchSize],
    ['Loss of the last step', state.loss?.toPrecision(5) ?? 'none'],
    ['Loss on evaluation data', state.evalLoss?.toPrecision(5) ?? 'not measured'],
    ...(state.best
      ? [['Lowest of them', `${state.best.evalLoss.toPrecision(5)}, at step ${state.best.step}`] as [string, string]]
      : []),
    ...(resultStep === null ? [] : [['Values', `of step ${resultStep}`] as [string, string]]),
  ]
  const place = isAdapter ? '--model BASE_MODEL --adapter THIS_FOLDER' : '--model THIS_FOLDER/model'
  return [
    `---\n${stringify(header)}---`,
    `# ${oneLine(basename(base))}, trained with ${method}`,
    `Made by node-mora ${versions['node-mora'] ?? ''}. Every option is in \`run.yaml\`, every step in \`metrics.jsonl\`.`,
    ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${cell(value)} |`)].join('\n'),
    useSection(use, place),
    '',
  ].join('\n\n')
}

/** A cell of a Markdown table. */
const cell = (value: unknown): string => oneLine(String(value)).replaceAll('|', '\\|')

const oneLine = (text: string): string => text.replace(/\s+/g, ' ')

/** Returns the repository of a hub id with its commit, as runs record it; null for a path. */
function repositoryOf(reference: string): string | null {
  const id = parseHubId(reference)
  return id && isCommit(id.revision) ? id.repository : null
}
