// What a step of GRPO takes: shares of sampling, rewards and training, and answers per second for groups of several sizes,
// bfloat16, LoRA of rank 8:
//   node bench/rollout.mjs [MODEL] [--groups 8,16] [--prompts 1] [--tokens 64]
// Beside TRL with transformers' generation, where --python has it.
import { grpo, loadModel, train } from 'node-mora'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { pytorchProcess, trlVersion } from './common/pytorch.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { table } from './common/table.mjs'
import { spread } from './common/turns.mjs'

const options = readOptions({
  usage: `node bench/rollout.mjs [MODEL] [options]: the parts of a step of GRPO.

  --groups LIST     answers to each prompt, default 8,16
  --prompts N       prompts of a step, default 1
  --tokens N        tokens of each answer at most, default 64`,
  own: {
    groups: { type: 'string', default: '8,16' },
    prompts: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '64' },
  },
  rounds: 8,
})
const { groups, prompts, tokens } = orUsageError(() => ({
  groups: list(options.groups).map((text) => whole('groups', text, 2)),
  prompts: whole('prompts', options.prompts, 1),
  tokens: whole('tokens', options.tokens, 1),
}))
const machine = describeMachine(`${options.model}, ${prompts} prompts a step, answers of ${tokens} tokens`, options)

/** Groups of answers to these are trained in each step. */
const asked = Array.from({ length: prompts }, (_, i) => `List the ${i + 2} things that matter most in a garden.`)
const trl = trlVersion(options.python)
if (!trl) console.log(`TRL was not measured: ${options.python} cannot import it with transformers, PEFT and datasets.`)
const theirs = trl ? await openTrl() : null

/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {(string | number)[][]} */
const shares = []
try {
  for (const groupSize of groups) {
    const steps = await stepsOf(groupSize)
    const sides = [{ name: 'node-mora', seconds: spread(steps.map(({ seconds }) => seconds)) }]
    if (theirs) {
      const request = { task: 'steps', group: groupSize, tokens, prompts: asked, rounds: options.rounds }
      sides.push({ name: `TRL ${trl}`, seconds: spread((await theirs.ask(request)).seconds) })
    }
    lines.push({ name: `groups of ${groupSize}`, amount: groupSize * prompts, unit: 'answers/s', sides })
    const whole = sum(steps.map(({ seconds }) => seconds))
    const share = (part) => `${((100 * sum(steps.map((step) => step[part]))) / whole).toFixed(0)} %`
    const length = sum(steps.map((step) => step.length)) / steps.length
    shares.push([groupSize, length.toFixed(1), share('sampling'), share('rewards'), share('training')])
  }
} finally {
  await theirs?.stop()
}
console.log(`\n${table(['group', 'tokens of an answer', 'sampling', 'rewards', 'training'], shares)}`)
report({ benchmark: 'rollout', machine, options, lines, facts: { prompts, tokens, shares } })

/** TRL with the model's weights as transformers reads them. */
async function openTrl() {
  const folder = scratchFolder()
  const model = await loadModel(options.model, { device: 'cpu', dtype: 'bfloat16', quantised: false })
  await model.save(folder, { dtype: 'bfloat16' })
  await model.dispose()
  const task = { model: folder, folder: scratchFolder(), threads: options.threads }
  const side = pytorchProcess('TRL', 'grpo.py', task, options, true)
  await side.ready(300)
  return side
}

/** Times of the steps after the first. */
async function stepsOf(groupSize) {
  process.stderr.write(`groups of ${groupSize} …\n`)
  const model = await loadModel(options.model, { device: 'cpu', dtype: 'bfloat16', threads: options.threads })
  const data = asked.map((prompt) => ({ prompt }))
  const rewards = { even: ({ ids }) => ids.filter((id) => id % 2 === 0).length / ids.length }
  const objective = grpo({ rewards, groupSize, maxNewTokens: tokens })
  const run = train(model, {
    ...{ method: 'lora', rank: 8, objective, data, batchSize: prompts, maxSteps: options.rounds + 1 },
  })
  const steps = []
  let last = performance.now()
  for await (const event of run) {
    if (event.type !== 'step') continue
    const now = performance.now()
    const { samplingSeconds: sampling, rewardSeconds: rewarding, completionLength: length } = event.metrics ?? {}
    const seconds = (now - last) / 1000
    steps.push({ seconds, length, sampling, rewards: rewarding, training: seconds - sampling - rewarding })
    last = now
  }
  await run.finished
  await model.dispose()
  return steps.slice(1)
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}
