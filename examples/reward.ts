/**
 * Trains a reward model on pairs of answers, and ranks new ones by it.
 *
 *     node examples/reward.ts [model] [data] [output] [steps]        (Node 22.18 or newer; before: npx tsx examples/reward.ts)
 */
import { evaluate, loadModel, readRows, reward, scoresOf, train } from 'node-mora'

const [path = 'assets/demo-model', file = 'examples/preferences.jsonl', output = 'out/judge', steps = '30'] =
  process.argv.slice(2)
const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
const pairs: object[] = []
for await (const pair of readRows(file)) pairs.push(pair)
const [heldOut, data] = [pairs.slice(-8), pairs.slice(0, -8)]

const objective = reward({ centerRewardsCoefficient: 0.01 })
const run = train(model, { objective, method: 'mora', rank: 4, data, output, maxSteps: Number(steps) })
for await (const event of run) {
  if (event.type === 'step' && event.step % 10 === 0)
    console.log(`step ${event.step}  loss ${event.loss.toFixed(4)}  accuracy ${event.metrics!.accuracy}`)
}

const { accuracy, margin } = await evaluate(model, { task: 'reward', data: heldOut })
console.log(`held-out pairs: ${accuracy * 100} % right, mean margin ${margin.toFixed(3)}`)
const prompt = 'How many legs has a dog?'
const answers = ['Four. Look it up.', 'Four. Happy to help!']
const scores = await scoresOf(
  model,
  answers.map((completion) => ({ prompt, completion })),
)
for (const [i, answer] of answers.entries()) console.log(`${scores[i]![0]!.toFixed(3)}  ${answer}`)
