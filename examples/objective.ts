/**
 * An objective of one's own: a model with random weights learns what another one, loaded beside it, expects next (distillation).
 * `distill` of the library does the same; this is how such a loss is written.
 *
 *     node examples/objective.ts [teacher] [data] [steps]  (Node 22.18 or newer; before: npx tsx examples/objective.ts)
 */
import { exp, initModel, loadModel, logSoftmax, mul, type Objective, sub, sum, train } from 'node-mora'

const [path = 'assets/demo-model', data = 'examples/facts.jsonl', steps = '10'] = process.argv.slice(2)

const how = { device: 'cpu', dtype: 'float32', threads: 1 } as const
const teacher = await loadModel(path, how)
const student = await initModel(`${path}/config.json`, { ...how, tokenizer: teacher.tokenizer })

/** KL(teacher ‖ student) = Σ p (ln p - ln q) at the tokens that have a target. The run divides it by their number. */
const imitation: Objective = {
  name: 'imitation',
  async loss(model, batch, { gradients }) {
    const wanted = await teacher.forwardAsync(batch, { rows: 'targets', gradients: false })
    const states = await model.forwardAsync(batch, { rows: 'targets', gradients })
    const loss = states.sumOverLogits((logits, from, to) => {
      const logP = logSoftmax(wanted.logits(from, to))
      return sum(mul(exp(logP), sub(logP, logSoftmax(logits))))
    })
    // The backward pass keeps what it needs.
    for (const output of [wanted, states]) output.dispose()
    return { loss, weight: batch.targetTokens }
  },
}

const run = train(student, { objective: imitation, data, learningRate: 3e-3, maxSteps: Number(steps) })
for await (const event of run)
  if (event.type === 'step') console.log(`step ${event.step}  loss ${event.loss.toFixed(5)}`)

student.dispose()
teacher.dispose()
