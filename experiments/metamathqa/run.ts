/**
 * PEFT's MetaMathQA protocol (method_comparison/MetaMathQA) with this engine.
 *
 *     node experiments/metamathqa/run.ts --method mora --rank 32 --operator sharing --output out/metamathqa
 *     (Node 22.18 or newer; before: npx tsx)
 */
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { openDevice } from 'node-mora'
import { PROTOCOL, type TrainConfig } from './protocol.ts'
import { runRecipe } from './recipe.ts'
import { reportOf } from './report.ts'

const USAGE = `node experiments/metamathqa/run.ts [options]: PEFT's MetaMathQA protocol.

  --output FOLDER    the adapter and report.json; default out/metamathqa
  --method M         a method of this library; default mora
  --rank N           default 32
  --operator O       of mora; default sharing
  --learning-rate X  default ${PROTOCOL.optimizer_kwargs.lr}
  --model M          default ${PROTOCOL.model_id}
  --data D           default meta-math/MetaMathQA
  --valid D          GSM8K's training rows; default openai/gsm8k:main:train
  --test D           GSM8K's test rows; default openai/gsm8k:main:test
  --wiki D           a file of HuggingFaceFW/finewiki, for forgetting; without, it is not measured
  --steps N          default ${PROTOCOL.max_steps}
  --eval-steps N     default ${PROTOCOL.eval_steps}
  --device D         default auto
  --dtype D          of the model; default ${PROTOCOL.dtype}`

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      output: { type: 'string', default: 'out/metamathqa' },
      method: { type: 'string', default: 'mora' },
      rank: { type: 'string', default: '32' },
      operator: { type: 'string' },
      'learning-rate': { type: 'string' },
      model: { type: 'string' },
      data: { type: 'string', default: 'meta-math/MetaMathQA' },
      valid: { type: 'string', default: 'openai/gsm8k:main:train' },
      test: { type: 'string', default: 'openai/gsm8k:main:test' },
      wiki: { type: 'string' },
      steps: { type: 'string' },
      'eval-steps': { type: 'string' },
      device: { type: 'string', default: 'auto' },
      dtype: { type: 'string' },
    },
  })
  if (values.help) return console.log(USAGE)
  const started = new Date()
  const { method, output, device } = values
  const operator = values.operator ?? (method === 'mora' ? 'sharing' : undefined)
  const adapter = { method, rank: positive('rank', values.rank), ...(operator && { operator }) }
  const config: TrainConfig = {
    ...PROTOCOL,
    model_id: values.model ?? PROTOCOL.model_id,
    dtype: (values.dtype as TrainConfig['dtype']) ?? PROTOCOL.dtype,
    max_steps: positive('steps', values.steps ?? PROTOCOL.max_steps),
    eval_steps: positive('eval-steps', values['eval-steps'] ?? PROTOCOL.eval_steps),
    optimizer_kwargs: {
      ...PROTOCOL.optimizer_kwargs,
      lr: positive('learning-rate', values['learning-rate'] ?? PROTOCOL.optimizer_kwargs.lr),
    },
  }
  if (config.eval_steps > config.max_steps) {
    throw new Error(`Expected --eval-steps of at most the ${config.max_steps} steps but received ${config.eval_steps}.`)
  }
  const sources = { train: values.data, valid: values.valid, test: values.test, wiki: values.wiki ?? null }
  const say = (line: string) => console.error(line)
  const { model, trainInfo } = await runRecipe({ config, adapter, sources, output, device, say })
  const report = reportOf({
    createdAt: started,
    totalSeconds: (Date.now() - started.getTime()) / 1000,
    name: `${method}/${config.model_id.split('/').at(-1)}-rank${adapter.rank}${operator ? `-${operator}` : ''}`,
    config,
    adapter: JSON.parse(await readFile(join(output, 'adapter', 'adapter_config.json'), 'utf8')),
    trainInfo,
    sources: { model, metamath: sources.train, gsm8k: sources.test },
    engine: createRequire(import.meta.url)('node-mora/package.json').version,
    device: openDevice({ device }).facts().name,
  })
  const path = join(output, 'report.json')
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`)
  console.log(path)
}

function positive(name: string, text: string | number): number {
  const value = Number(text)
  if (value > 0 && (name === 'learning-rate' || Number.isInteger(value))) return value
  throw new Error(`Expected a positive number for --${name} but received ${text}.`)
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main(process.argv.slice(2))
