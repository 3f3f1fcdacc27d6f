import { randomStream } from 'node-mora'
import { adapterConfig, parseMethod } from '../common/methods.mjs'
import { takeTurns, timedSides } from '../common/turns.mjs'

/** The methods whose adapters texts have beside the base. */
const METHODS = ['lora:8', 'rotation:8', 'sharing:8'].map(parseMethod)

/**
 * Times an engine that writes texts at once, each with its own adapter of one method, beside texts of the base alone. Returns
 * the times of each method, and those of the base in the same rounds.
 * @param {any} model
 * @param {number[][]} prompts one for each text
 * @param {(adapters: string[][]) => Promise<{ seconds: number }>} write
 * @param {number} rounds
 */
export async function writeWithAdapters(model, prompts, write, rounds) {
  const names = prompts.map((_, i) => `own-${i}`)
  /** @type {{ label: string, timed: any[] }[]} */
  const all = []
  for (const method of METHODS) {
    for (const [seed, name] of names.entries()) await addDrawn(model, name, method, seed)
    const sides = [
      { name: method.label, run: () => write(names.map((name) => [name])) },
      { name: 'base', run: () => write(names.map(() => [])) },
    ]
    all.push({ label: method.label, timed: timedSides(sides, await takeTurns(sides, rounds)) })
    for (const name of names) model.removeAdapter(name)
  }
  return all
}

/** Adds an adapter that changes the model's texts: all of its values are drawn. */
async function addDrawn(model, name, method, seed) {
  await model.addAdapter(name, adapterConfig(method))
  const random = randomStream(seed, name)
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.02 * random.uniform() - 0.01))
  model.setActiveAdapters([])
}
