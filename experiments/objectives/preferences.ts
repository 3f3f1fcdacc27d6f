/**
 * A model learns to prefer short answers: DPO on pairs that it wrote itself, of which the shorter is chosen. Measured on pairs of
 * prompts that are not trained: how often the chosen answer has the larger reward; and how far the model goes from the one that it was.
 *
 *     node experiments/objectives/preferences.ts --model SmolLM2-135M-Instruct.Q4_1.gguf --output out/preferences
 *     (Node 22.18 or newer; before: npx jiti)
 */
import { dpo, type Model, packBatch, TextEngine, train } from 'node-mora'
import { isStarted, meanOf, optionsOf, report } from './experiment.ts'

const VERBS = ['Explain', 'Describe', 'Recommend', 'Compare', 'Criticise', 'Praise']
const SUBJECTS = [
  ...['rain', 'bread', 'chess', 'the moon', 'bicycles', 'coffee', 'whales', 'libraries', 'winter', 'gardens'],
  ...['trains', 'honey', 'maps', 'football', 'clocks', 'rivers', 'paper', 'jazz', 'bridges', 'owls'],
]
/** Subjects whose pairs are not trained. */
const HELD_OUT = ['volcanoes', 'cheese', 'theatre', 'kites', 'salt', 'soup', 'chairs', 'beetles', 'ships', 'poetry']
const promptsOf = (subjects: readonly string[]) =>
  subjects.flatMap((subject) => VERBS.map((verb) => `${verb} ${subject}.`))
const ANSWERS = 6
/** Tokens by which they differ at least. */
const LEAST_GAP = 16
const call = { maxNewTokens: 80, temperature: 1, seed: 1 }

/** Returns a pair for each prompt: the shortest and the longest of some answers, if they differ enough. */
async function pairsOf(model: Model, prompts: readonly string[]) {
  const engine = new TextEngine(model, { sequences: 32 })
  const pairs = prompts.map(async (prompt) => {
    const writing = Array.from({ length: ANSWERS }, (_, sample) => engine.generate({ ...call, prompt }, sample))
    const texts = (await Promise.all(writing)).sort((a, b) => a.newTokens - b.newTokens)
    const [chosen, rejected] = [texts[0]!, texts.at(-1)!]
    const differs = rejected.newTokens >= chosen.newTokens + LEAST_GAP && chosen.text.trim() !== ''
    return differs ? [{ prompt, chosen: chosen.text, rejected: rejected.text }] : []
  })
  const all = (await Promise.all(pairs)).flat()
  await engine.close()
  return all
}

/** Returns KL(model ‖ model without its adapter) of a token, from answers of the model, and their mean length. */
async function divergence(model: Model, prompts: readonly string[]): Promise<{ kl: number; length: number }> {
  const engine = new TextEngine(model, { sequences: 32 })
  const answers = await Promise.all(prompts.map((prompt) => engine.generate({ ...call, prompt })))
  await engine.close()
  const gaps: number[] = []
  for (const [i, { ids }] of answers.entries()) {
    const text = await model.tokenizer!.renderChat([{ role: 'user', content: prompts[i]! }], {
      addGenerationPrompt: true,
    })
    const before = await model.tokenizer!.encode(text)
    const batch = packBatch([{ ids: [...before, ...ids], mask: [...before.map(() => 0), ...ids.map(() => 1)], row: 0 }])
    const own = await model.tokenLogProbs(batch)
    const base = await model.withAdapters([]).tokenLogProbs(batch)
    for (const [t, logp] of own.entries()) gaps.push(logp - base[t]!)
  }
  return { kl: meanOf(gaps), length: meanOf(answers.map(({ newTokens }) => newTokens)) }
}

export async function main(args: readonly string[]): Promise<object> {
  const { model, output, steps, batch, learningRate, minutes } = await optionsOf('preferences', args, {
    steps: 40,
    learningRate: 1e-4,
  })
  const heldOut = promptsOf(HELD_OUT)
  const [pairs, heldOutPairs] = [await pairsOf(model, promptsOf(SUBJECTS)), await pairsOf(model, heldOut)]
  const { length: before } = await divergence(model, heldOut)
  console.error(`${pairs.length} pairs, ${heldOutPairs.length} held out`)
  const run = train(model, {
    ...{ method: 'lora', rank: 16, learningRate, scheduler: 'linear', objective: dpo({ beta: 0.1 }) },
    ...{
      data: pairs,
      batchSize: batch,
      maxSteps: steps,
      evalData: heldOutPairs,
      evalEvery: 10,
      output,
      overwrite: true,
    },
  })
  const curve: object[] = []
  for await (const event of run) {
    if (event.type !== 'evaluation') continue
    curve.push({
      step: event.step,
      minutes: minutes(),
      accuracy: event.metrics!.accuracy,
      margin: event.metrics!.margins,
    })
    console.error(`${event.step}: ${JSON.stringify(event.metrics)}`)
  }
  await run.finished
  const { kl, length: after } = await divergence(model, heldOut)
  await model.dispose()
  const lengths = { lengthBefore: before, lengthAfter: after }
  const counts = { pairs: pairs.length, heldOut: heldOutPairs.length }
  return report(output, {
    experiment: 'preferences',
    ...counts,
    steps,
    minutes: minutes(),
    klPerToken: kl,
    ...lengths,
    curve,
  })
}

if (isStarted(import.meta.url)) console.log(JSON.stringify(await main(process.argv.slice(2)), null, 2))
