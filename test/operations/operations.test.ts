import { describe, expect, test } from 'vitest'
import { native, type Operations } from '../../lib/native/addon.js'
import { drawn, drawnIfEmulated } from '../drawn.js'
import { lack, needing } from '../needs.js'
import { activations } from './cases/activations.js'
import { attentionOperations } from './cases/attention.js'
import { codeOperations } from './cases/codes.js'
import { convolutions } from './cases/convolution.js'
import { copies } from './cases/copies.js'
import { deltaRules } from './cases/delta-rule.js'
import { elementwiseOperations } from './cases/elementwise.js'
import { layers } from './cases/layers.js'
import { lossParts } from './cases/loss-parts.js'
import { moraOperations } from './cases/mora.js'
import { norms } from './cases/norms.js'
import { products } from './cases/products.js'
import { rowOperations } from './cases/rows.js'
import { samplingOperations } from './cases/sampling.js'
import { training } from './cases/training.js'
import { type ActivationDType, activationDTypes, isLarge, type OperationCase, runCase, testDevice } from './harness.js'

// An operation of lib/native/operations.ts without cases does not compile here.
const table: Record<keyof Operations, readonly OperationCase[]> = {
  ...copies,
  ...elementwiseOperations,
  ...products,
  ...codeOperations,
  ...rowOperations,
  ...layers,
  ...norms,
  ...activations,
  ...convolutions,
  ...deltaRules,
  ...attentionOperations,
  ...samplingOperations,
  ...training,
  ...lossParts,
  ...moraOperations,
}

test('every operation of the addon has cases', () => {
  expect(Object.keys(table).sort()).toEqual(Object.keys(native.operations).sort())
  for (const [operation, cases] of Object.entries(table)) expect(cases.length, operation).toBeGreaterThan(0)
})

const device = testDevice()
const facts = device.facts()

/** Most of the time goes into references in float64: of each case, one dtype is drawn. */
function dtypesOf(description: OperationCase): readonly ActivationDType[] {
  const dtypes = description.dtypes ?? activationDTypes
  return drawn(`${description.name} on ${device.kind}`, dtypes, 1)
}

describe.each(Object.entries(table))('%s', (operation, cases) => {
  const large = drawnIfEmulated(`large operands of ${operation}`, cases.filter(isLarge), 1)
  for (const description of cases.filter((one) => !isLarge(one) || large.includes(one))) {
    const { needs = () => true } = description
    for (const dtype of dtypesOf(description)) {
      needing(lack('another device', needs(facts))).test(`${description.name} in ${dtype}`, () =>
        runCase(description, dtype),
      )
    }
  }
})
