/** The part of vitest that tests of operations and golden runs use, on Node.js's own runner: vitest has binaries of each system. */
import { after, before, describe as describeOf, test as testOf } from 'node:test'
import { format } from 'node:util'
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from '@vitest/expect'
import * as chai from 'chai'

for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin)

export { after as afterAll, before as beforeAll }
export const { expect } = chai

/** Adds `each`, which runs a body for each of several cases. */
const withEach = (declare) =>
  Object.assign((...given) => declare(...given), {
    skip: declare.skip,
    each: (cases) => (title, body) => {
      for (const one of cases) declare(titleOf(title, one), () => (Array.isArray(one) ? body(...one) : body(one)))
    },
  })

const titleOf = (title, one) =>
  title.includes('%') ? format(title, ...[one].flat()) : title.replace(/\$(\w+)/g, (whole, name) => one[name] ?? whole)

export const describe = withEach(describeOf)
export const test = withEach(testOf)
export const it = test
