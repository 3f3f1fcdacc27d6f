import { describe, expect, it } from 'vitest'
import { inFlags } from '../../lib/cli/flag-names.js'

describe('a sentence of the library on the command line', () => {
  it.each([
    ['give the option output.', 'give --output.'],
    ['The option compute is int8, but no', '--compute is int8, but no'],
    ['continue it with the option resume, or not', 'continue it with --resume, or not'],
    ['train it whole (modulesToSave).', 'train it whole (--modules-to-save).'],
    ['both (modulesToSave: embeddings,head), or', 'both (--modules-to-save embeddings,head), or'],
    ['merge it (the option format: gguf or safetensors).', 'merge it (--format gguf or safetensors).'],
    [
      'had learningRate 0.1; with the option allowChanges learningRate.',
      'had --learning-rate 0.1; with --allow-changes learning-rate.',
    ],
  ])('%s', (sentence, told) => {
    expect(inFlags(sentence)).toBe(told)
  })

  it.each([
    'no model lies at runs/maxLength/model',
    'it is called "maxLength"',
    'the output of the model, its rank and data',
  ])('keeps what is no name of an option: %s', (sentence) => {
    expect(inFlags(sentence)).toBe(sentence)
  })
})
