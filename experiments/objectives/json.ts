/**
 * A model learns to write JSON of a zod schema: GRPO with the schema as its reward. Measured on prompts that are not trained, with
 * unconstrained sampling at temperature 1, before and after.
 *
 *     node experiments/objectives/json.ts --model SmolLM2-135M-Instruct.Q4_1.gguf --output out/json
 *     (Node 22.18 or newer; before: npx jiti)
 */
import { grpo, jsonReward } from 'node-mora'
import { z } from 'zod'
import { type Experiment, type Question, runExperiment } from './experiment.ts'

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

const about = (thing: string): Question[] =>
  KINDS.map((kind) => {
    const article = /^[aeiou]/i.test(kind) ? 'an' : 'a'
    const asked = { role: 'user', content: `Describe ${article} ${kind} ${thing}.` }
    return { messages: [{ role: 'system', content: SYSTEM }, ...EXAMPLE, asked] }
  })

export const json: Experiment = {
  name: 'json',
  training: THINGS.flatMap(about),
  heldOut: HELD_OUT.flatMap(about),
  score: jsonReward(schema),
  maxNewTokens: 64,
  objective: ({ maxNewTokens, groupSize }) =>
    grpo({
      // JSON of any kind is the first step to JSON of the schema.
      rewards: { schema: jsonReward(schema), syntax: jsonReward(z.json()) },
      rewardWeights: [1, 0.3],
      groupSize,
      maxNewTokens,
    }),
  steps: 120,
  learningRate: 2e-4,
}

await runExperiment(json, import.meta.url)
