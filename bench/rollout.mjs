// What a step of GRPO takes: shares of sampling, rewards and training, and answers per second for groups of several sizes,
// bfloat16, LoRA of rank 8, answers of a fixed length, so that every step does the same:
//   node bench/rollout.mjs [MODEL] [--groups 8,16] [--prompts 1] [--tokens 64]
import { grpo, loadModel, train } from 'node-mora'
import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { table } from './common/table.mjs'
import { spread } from './common/turns.mjs'

const options = readOptions({
  usage: `node bench/rollout.mjs [MODEL] [options]: the parts of a step of GRPO.

  --groups LIST     answers to each prompt, default 8,16
  --prompts N       prompts of a step, default 1
  --tokens N        tokens of each answer, default 64`,
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

/** @type {import('./common/report.mjs').Line[]} */
const lines = []
/** @type {(string | number)[][]} */
const shares = []
for (const groupSize of groups) {
  const steps = await stepsOf(groupSize)
  const answers = groupSize * prompts
  const side = { name: 'node-mora', seconds: spread(steps.map(({ seconds }) => seconds)) }
  lines.push({ name: `groups of ${groupSize}`, amount: answers, unit: 'answers/s', sides: [side] })
  const whole = sum(steps.map(({ seconds }) => seconds))
  const share = (part) => `${((100 * sum(steps.map((step) => step[part]))) / whole).toFixed(0)} %`
  shares.push([groupSize, share('sampling'), share('rewards'), share('training')])
}
console.log(`\n${table(['group', 'sampling', 'rewards', 'training'], shares)}`)
report({ benchmark: 'rollout', machine, options, lines, facts: { prompts, tokens, shares } })

/** Times of the steps after the first. */
async function stepsOf(groupSize) {
  process.stderr.write(`groups of ${groupSize} …\n`)
  const model = await loadModel(options.model, { device: 'cpu', dtype: 'bfloat16', threads: options.threads })
  // An answer never ends by itself, so all have the same length.
  const data = Array.from({ length: prompts }, (_, i) => ({
    prompt: `List the ${i + 2} things that matter most in a garden.`,
  }))
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
    const { samplingSeconds: sampling, rewardSeconds: rewarding } = event.metrics ?? {}
    const seconds = (now - last) / 1000
    steps.push({ seconds, sampling, rewards: rewarding, training: seconds - sampling - rewarding })
    last = now
  }
  await run.finished
  await model.dispose()
  return steps.slice(1)
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0)
}
