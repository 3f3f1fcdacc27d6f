import { describe, expect, it } from 'vitest'
import { camelCase, kebabCase } from '../../lib/common/option-names.js'
import { TrainSchema } from '../../lib/options/index.js'
import { editDistance, nearest } from '../../lib/schema/names.js'

describe('names of options', () => {
  it('have one spelling on the command line and one in the library', () => {
    expect(kebabCase('minLearningRateRatio')).toBe('min-learning-rate-ratio')
    expect(kebabCase('allowTf32')).toBe('allow-tf32')
    expect(kebabCase('beta1')).toBe('beta1')
    expect(kebabCase('topNSigma')).toBe('top-n-sigma')
    for (const key of Object.keys(TrainSchema.shape)) expect(camelCase(kebabCase(key))).toBe(key)
  })
})

describe('the nearest name', () => {
  it('is found by edits, whatever the spelling', () => {
    expect(editDistance('kitten', 'sitting')).toBe(3)
    expect(editDistance('', 'abc')).toBe(3)
    expect(nearest('batch_size', ['batchSize', 'epochs'])).toBe('batchSize')
    expect(nearest('epoch', ['batchSize', 'epochs'])).toBe('epochs')
  })

  it('is none when nothing is near', () => {
    expect(nearest('zebra', ['batchSize', 'epochs'])).toBeUndefined()
  })
})
