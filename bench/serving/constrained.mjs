import { openConstraint, randomStream } from 'node-mora'
import { Engine } from '../common/internals.mjs'
import { takeTurns, timedSides } from '../common/turns.mjs'

const object = (properties) => ({
  schema: { type: 'object', properties, required: Object.keys(properties), additionalProperties: false },
})
const text = { type: 'string' }
const SAMPLING = { temperature: 0.8, topK: 0, topP: 1 }

/** What the texts conform to. */
export const CONSTRAINTS = {
  'a record': object({ name: text, age: { type: 'integer' }, tags: { type: 'array', items: text } }),
  'numbers in bounds': object({
    year: { type: 'integer', minimum: 1900, maximum: 2100 },
    scores: { type: 'array', items: { type: 'number' }, minItems: 12, maxItems: 24 },
  }),
  'choices and bounded texts': object({
    kind: { enum: ['question', 'complaint', 'praise'] },
    summary: { type: 'string', minLength: 40, maxLength: 200 },
  }),
  'nested objects': object({
    people: {
      type: 'array',
      minItems: 3,
      maxItems: 8,
      ...{ items: object({ name: text, alive: { type: 'boolean' } }).schema },
    },
  }),
  'a regular expression': { regex: '[A-Z][a-z]+( [a-z]+){24}\\.' },
}

/**
 * Times an engine that writes constrained texts at once, beside free ones of the same lengths.
 * @param {any} model
 * @param {number[][]} prompts one for each text
 * @param {object} options the constraint
 * @param {number} rounds
 */
export async function writeConstrained(model, prompts, options, rounds) {
  const { lengths } = await written(model, prompts, { options })
  const sides = [
    { name: 'constrained', run: () => written(model, prompts, { options }) },
    { name: 'free', run: () => written(model, prompts, { lengths }) },
  ]
  const timed = timedSides(sides, await takeTurns(sides, rounds))
  return { tokens: lengths.reduce((sum, length) => sum + length - 1, 0), timed }
}

/**
 * Returns the seconds in which all texts are written after their first tokens, and their lengths.
 * @param {any} model
 * @param {number[][]} prompts
 * @param {{ options?: any, lengths?: number[] }} what
 */
async function written(model, prompts, { options, lengths = [] }) {
  const { tokenizer, config } = model
  const tokens = { tokenizer, vocabularySize: config.vocabularySize, eosIds: config.eosIds }
  const constraints = await Promise.all(prompts.map(() => options && openConstraint(options, tokens)))
  const engine = new Engine(model, { sequences: prompts.length })
  let [first, began] = [0, 0]
  const counts = await Promise.all(
    prompts.map(async (ids, i) => {
      const constraint = constraints[i]
      const request = {
        ids,
        maxNewTokens: lengths[i] ?? 96,
        sampling: SAMPLING,
        random: randomStream(i, 'text'),
        constraint,
      }
      let count = 0
      for await (const _ of engine.write({ ...request, stopIds: new Set(constraint ? config.eosIds : []) })) {
        if (++count === 1 && ++began === prompts.length) first = performance.now()
      }
      constraint?.dispose()
      return count
    }),
  )
  const seconds = (performance.now() - first) / 1000
  await engine.close()
  return { seconds, lengths: counts }
}
