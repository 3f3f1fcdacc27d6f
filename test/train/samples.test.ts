import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { generate } from '../../lib/generate/index.js'
import type { TrainInput } from '../../lib/options/index.js'
import { loadTokenizer, type Tokenizer } from '../../lib/text/tokenizer.js'
import type { SampleEvent, TrainEvent } from '../../lib/train/events.js'
import type { Run } from '../../lib/train/run.js'
import { trainWith } from '../../lib/train/train.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { TinyModel } from './tiny-model.js'
import { rows, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

/** Prompts that leave room for 8 tokens. */
const [ONE, TWO] = ['a'.repeat(56), 'b'.repeat(56)]

function optionsOf(output: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const course = { learningRate: 1, batchSize: 4, maxSteps: 6, saveEvery: 2, dropout: 0.2 }
  return { data, output: join(folder(), output), samplePrompt: [ONE, TWO], sampleEvery: 2, ...course, ...changes }
}

/** Returns a tokenizer of letters for the tiny model's vocabulary. */
async function letterTokenizer(): Promise<Tokenizer> {
  const own = folder()
  const vocab = Object.fromEntries([...'abcdefghijk'].map((letter, id) => [letter, id]))
  const json = {
    version: '1.0',
    added_tokens: [],
    pre_tokenizer: { type: 'Split', pattern: { Regex: '.' }, behavior: 'Isolated', invert: false },
    model: { type: 'WordLevel', vocab, unk_token: 'k' },
  }
  writeFileSync(join(own, 'tokenizer.json'), JSON.stringify(json))
  return (await loadTokenizer(own))!
}

/** Trains a model; each sample must be the text that it generates at that step. */
async function trainSpeaking(options: TrainInput, onEvent?: (event: TrainEvent, run: Run) => void) {
  const model = new TinyModel({ tokenizer: await letterTokenizer() })
  const run = trainWith(model, options)
  const samples: SampleEvent[] = []
  for await (const event of run) {
    if (event.type === 'sample') {
      samples.push(event)
      expect(event.text).toBe((await generate(model, { prompt: event.prompt, maxNewTokens: 64 })).text)
    }
    onEvent?.(event, run)
  }
  return { samples, result: await run.finished }
}

const written = (output: string) =>
  readFileSync(join(output, 'samples.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; prompt: string; text: string })

describe('samples of a run', () => {
  it('answer every prompt before the first step, at the interval, and after the last step', async () => {
    const options = optionsOf('out', { maxSteps: 5 })
    const { samples } = await trainSpeaking(options)
    expect(samples.map(({ step, prompt }) => [step, prompt])).toEqual(
      [0, 2, 4, 5].flatMap((step) => [
        [step, ONE],
        [step, TWO],
      ]),
    )
    expect(new Set(samples.map(({ text }) => text)).size, 'texts of other weights').toBeGreaterThan(4)
    expect(written(options.output)).toEqual(samples.map(({ step, prompt, text }) => ({ step, prompt, text })))
  })

  it('are taken at both ends without an interval', async () => {
    const { samples } = await trainSpeaking(optionsOf('out', { samplePrompt: ONE, sampleEvery: undefined }))
    expect(samples.map(({ step }) => step)).toEqual([0, 6])
  })

  it.each([1, 3, 4])('T21 equal those of an undisturbed run after an end at step %i and a resume', async (step) => {
    const whole = optionsOf('whole')
    await trainSpeaking(whole)
    const options = optionsOf('halves')
    await trainSpeaking({ ...options, saveEvery: undefined }, (event, run) => {
      if (event.type === 'step' && event.step === step) void run.stop()
    })
    await trainSpeaking({ ...options, resume: true })
    expect(written(options.output)).toEqual(written(whole.output))
  })

  it('of lost steps are dropped', async () => {
    const options = optionsOf('out')
    await trainSpeaking(options)
    const before = written(options.output)
    await trainSpeaking({ ...options, resume: join(options.output, 'checkpoints', 'step-000002') })
    expect(written(options.output)).toEqual(before)
  })

  it('need a tokenizer, which is checked before anything is written', async () => {
    const options = optionsOf('out')
    await expectRejection(
      trainWith(new TinyModel(), options).finished,
      'no-tokenizer',
      /samplePrompt needs a tokenizer/,
    )
    expect(existsSync(options.output)).toBe(false)
  })
})
