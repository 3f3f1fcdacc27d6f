/**
 * A model learns to write JSON of a zod schema: GRPO with the schema as its reward. Measured on prompts that are not trained, with
 * unconstrained sampling at temperature 1, before and after.
 *
 *     node experiments/objectives/json.ts --model SmolLM2-135M-Instruct.Q4_1.gguf --output out/json
 *     (Node 22.18 or newer; before: npx jiti)
 */
import { grpo, jsonReward, type Model, TextEngine, train } from 'node-mora'
import { z } from 'zod'
import { isStarted, meanOf, optionsOf, report } from './experiment.ts'

const schema = z.strictObject({
  name: z.string().min(1),
  year: z.int(),
  tags: z.array(z.string().min(1)).min(1).max(5),
})

const SYSTEM = 'You answer with JSON only: {"name": string, "year": integer, "tags": list of strings}.'
const EXAMPLE = [
  { role: 'user', content: 'Describe a ship.' },
  { role: 'assistant', content: '{"name": "Titanic", "year": 1912, "tags": ["ship", "ocean"]}' },
]
const KINDS = ['famous', 'small', 'modern', 'forgotten', 'Japanese', 'Italian', 'wooden', 'expensive', 'strange', 'red']
const THINGS = [
  ...['bridge', 'castle', 'museum', 'garden', 'lighthouse', 'railway station', 'theatre', 'tower'],
  ...['film', 'novel', 'poem', 'song', 'painting', 'opera', 'magazine', 'board game'],
  ...['bicycle', 'telescope', 'camera', 'guitar', 'clock', 'kitchen knife', 'lamp', 'chair'],
]
/** Things that are asked about after training only. */
const HELD_OUT = ['airship', 'university', 'computer', 'comic', 'violin', 'harbour']

const about = (thing: string) =>
  KINDS.map((kind) => {
    const article = /^[aeiou]/i.test(kind) ? 'an' : 'a'
    const asked = { role: 'user', content: `Describe ${article} ${kind} ${thing}.` }
    return { messages: [{ role: 'system', content: SYSTEM }, ...EXAMPLE, asked] }
  })

const heldOut = HELD_OUT.flatMap(about)
/** Answers to each question that is measured. */
const SAMPLES = 4
const MAX_NEW_TOKENS = 64

/** Returns the share of answers to the questions that are not trained that are JSON of the schema. */
async function shareOfValid(model: Model): Promise<number> {
  const engine = new TextEngine(model, { sequences: 32 })
  const isValid = (text: string) => {
    try {
      return schema.safeParse(JSON.parse(text)).success
    } catch {
      return false
    }
  }
  const call = { maxNewTokens: MAX_NEW_TOKENS, temperature: 1, seed: 1 }
  const asked = heldOut.flatMap((row) => Array.from({ length: SAMPLES }, (_, sample) => ({ row, sample })))
  const valid = asked.map(async ({ row, sample }) =>
    Number(isValid((await engine.generate({ ...row, ...call }, sample)).text)),
  )
  const share = meanOf(await Promise.all(valid))
  await engine.close()
  return share
}

export async function main(args: readonly string[]): Promise<object> {
  const { model, output, steps, batch, group, learningRate, minutes } = await optionsOf('json', args, {
    steps: 60,
    learningRate: 2e-4,
  })
  const before = await shareOfValid(model)
  console.error(`before: ${before}`)
  const objective = grpo({
    // JSON of any kind is the first step to JSON of the schema.
    rewards: { schema: jsonReward(schema), syntax: jsonReward(z.json()) },
    rewardWeights: [1, 0.3],
    groupSize: group,
    maxNewTokens: MAX_NEW_TOKENS,
  })
  const run = train(model, {
    ...{ method: 'lora', rank: 16, learningRate, scheduler: 'constant', objective },
    ...{ data: THINGS.flatMap(about), batchSize: batch, maxSteps: steps, output, overwrite: true },
    ...{ evalData: heldOut, evalEvery: 10 },
  })
  const curve: object[] = []
  for await (const event of run) {
    if (event.type === 'step') console.error(`${event.step}: reward ${event.metrics!.reward!.toFixed(3)}`)
    if (event.type !== 'evaluation') continue
    curve.push({ step: event.step, minutes: minutes(), valid: event.metrics!['reward/schema'] })
    console.error(`held out: ${event.metrics!['reward/schema']}`)
  }
  await run.finished
  const after = await shareOfValid(model)
  await model.dispose()
  const answers = SAMPLES * heldOut.length
  return report(output, { experiment: 'json', before, after, answers, steps, minutes: minutes(), curve })
}

if (isStarted(import.meta.url)) console.log(JSON.stringify(await main(process.argv.slice(2)), null, 2))
