/** Who owns a tensor: scopes, the tape, and explicit holds. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { native } from '../../lib/native/addon.js'
import { gatedActivation } from '../../lib/tensor/operations/activation.js'
import { mul } from '../../lib/tensor/operations/arithmetic.js'
import { factor, weightProduct } from '../../lib/tensor/operations/linear.js'
import { linearCrossEntropy } from '../../lib/tensor/operations/loss.js'
import { rmsNorm } from '../../lib/tensor/operations/norm.js'
import { Parameter } from '../../lib/tensor/parameter.js'
import { allOrNothing, keep, scope } from '../../lib/tensor/scope.js'
import { noGrad } from '../../lib/tensor/tape.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { weightOf } from '../../lib/tensor/weight.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const inUse = () => device.memory().inUse
const numbers = (...values: number[]): Tensor => Tensor.from(values, [values.length], { device })
const matrix = (rows: number, columns: number, seed = 1): Tensor =>
  Tensor.from(
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(seed + i)),
    [rows, columns],
    { device },
  )

let before = 0
beforeEach(() => {
  before = inUse()
})
afterEach(() => expect(inUse(), 'bytes in use after the test').toBe(before))

describe('scope', () => {
  test('frees its tensors and keeps those that it returns', async () => {
    const [made, returned] = [[] as Tensor[], scope(() => matrix(2, 2))]
    const both = scope(() => {
      made.push(numbers(1), numbers(2))
      return [made[1]!, numbers(3)] as const
    })
    expect(made.map(({ disposed }) => disposed)).toEqual([true, false])
    expect([...(await both[0].data()), ...(await both[1].data())]).toEqual([2, 3])
    for (const tensor of [returned, ...both]) tensor.dispose()
  })

  test('keeps the values of an object that it returns', async () => {
    const { a, count } = scope(() => ({ a: numbers(4), count: 2 }))
    expect([await a.item(), count]).toEqual([4, 2])
    a.dispose()
  })

  test('passes what an inner scope returns to the outer one', () => {
    let inner: Tensor | null = null
    scope(() => {
      inner = scope(() => numbers(1))
      expect(inner.disposed).toBe(false)
    })
    expect(inner!.disposed).toBe(true)
  })

  test('refuses a body that waits, frees what it made, and records as before', async () => {
    const made: Tensor[] = []
    const refused = expect.objectContaining({ code: 'async-body' })
    const body = async () => {
      made.push(numbers(1))
      await null
      throw new Error('nobody hears of this')
    }
    // @ts-expect-error a body that is async
    expect(() => scope(body)).toThrow(refused)
    expect(made[0]!.disposed).toBe(true)
    // @ts-expect-error a body that is async
    expect(() => noGrad(body)).toThrow(refused)
    made[1]!.dispose()
    expect(() => noGrad((() => Promise.resolve(1)) as never)).toThrow(/a synchronous body for noGrad/)
    const parameter = new Parameter('p', matrix(1, 1))
    const product = scope(() => mul(parameter, parameter))
    expect(product.requiresGrad).toBe(true)
    for (const tensor of [product, parameter]) tensor.dispose()
    await new Promise((resolve) => setTimeout(resolve, 1)) // an unhandled rejection would fail this file
  })

  test('frees everything when it throws, and the outer one goes on', () => {
    const made: Tensor[] = []
    const outer = scope(() => {
      expect(() =>
        scope(() => {
          made.push(numbers(1))
          throw new Error('stop')
        }),
      ).toThrow('stop')
      expect(made[0]!.disposed).toBe(true)
      return numbers(2)
    })
    expect(outer.disposed).toBe(false)
    outer.dispose()
  })

  test('does not free tensors that were kept or made outside', async () => {
    const outside = numbers(1)
    const kept: Tensor[] = []
    scope(() => {
      kept.push(keep(numbers(7)))
    })
    expect([await outside.item(), await kept[0]!.item()]).toEqual([1, 7])
    for (const tensor of [outside, ...kept]) tensor.dispose()
  })
})

describe('all or nothing', () => {
  test('keeps everything, or also frees what was to be kept', () => {
    const made: Tensor[] = []
    const makeTwo = () => {
      made.push(keep(numbers(1)), numbers(2))
      return made
    }
    allOrNothing(makeTwo)
    expect(made.map(({ disposed }) => disposed)).toEqual([false, false])
    for (const tensor of made.splice(0)) tensor.dispose()
    const failing = () => {
      allOrNothing(makeTwo)
      throw new Error('stop')
    }
    expect(() => allOrNothing(failing)).toThrow('stop')
    expect(made.map(({ disposed }) => disposed)).toEqual([true, true])
  })
})

describe('a tensor', () => {
  test('is freed by its last hold', () => {
    const tensor = numbers(1, 2, 3)
    tensor.retain()
    tensor.dispose()
    expect(tensor.disposed).toBe(false)
    tensor.release()
    expect(tensor.disposed).toBe(true)
    tensor.dispose()
  })

  test('cannot be used after its end', () => {
    const tensor = numbers(1)
    tensor.dispose()
    const expected = expect.objectContaining({ code: 'disposed' })
    expect(() => native.fill(tensor.native, 1)).toThrow(expected)
    expect(() => tensor.view([1])).toThrow(expected)
  })

  test('keeps its memory alive through views', async () => {
    const whole = matrix(4, 3)
    const row = whole.rows(2, 3)
    whole.dispose()
    expect([...(await row.data())]).toEqual([6, 7, 8].map((i) => Math.fround(Math.sin(1 + i))))
    row.dispose()
  })

  test('is read with its values at the time of the call, whatever follows', async () => {
    const tensor = numbers(1, 2)
    const values = tensor.data()
    native.fill(tensor.native, 9)
    tensor.dispose()
    expect([...(await values)]).toEqual([1, 2])
  })
})

describe('the tape', () => {
  const parameter = (rows: number, columns: number) => new Parameter('p', matrix(rows, columns))
  const targets = () => Tensor.from(Int32Array.of(0, 2, 1), [3], { device, dtype: 'int32' })

  test('keeps what the backward pass needs, and frees it as it goes', async () => {
    const [a, b] = [parameter(6, 4), parameter(5, 3)]
    const rest = inUse()
    const loss = scope(() =>
      linearCrossEntropy(gatedActivation(weightProduct(matrix(3, 4), weightOf(a)), 'silu'), b, targets()),
    )
    expect(inUse()).toBeGreaterThan(rest + 64)
    await loss.backward()
    for (const p of [a, b]) p.zeroGrad()
    loss.dispose()
    await device.synchronize()
    expect(inUse()).toBe(rest)
    for (const p of [a, b]) p.dispose()
  })

  test('frees everything when a result is dropped without a backward pass', () => {
    const a = parameter(6, 4)
    const rest = inUse()
    const y = scope(() =>
      gatedActivation(weightProduct(rmsNorm(matrix(3, 4), numbers(1, 1, 1, 1), 1e-5), weightOf(a)), 'silu'),
    )
    y.dispose()
    expect(inUse()).toBe(rest)
    a.dispose()
  })

  test('records nothing without gradients', () => {
    const a = parameter(6, 4)
    const y = noGrad(() => scope(() => factor(matrix(3, 4), a)))
    expect([y.requiresGrad, a.requiresGrad]).toEqual([false, true])
    y.dispose()
    a.dispose()
  })

  test('sums gradients over backward passes until they are cleared', async () => {
    const a = parameter(6, 4)
    const pass = async () => {
      const loss = scope(() => linearCrossEntropy(matrix(3, 4), a, targets()))
      await loss.backward()
      loss.dispose()
    }
    await pass()
    const once = await a.grad!.data()
    await pass()
    expect([...(await a.grad!.data())]).toEqual([...once.map((value) => 2 * value)])
    a.zeroGrad()
    expect(a.grad).toBe(null)
    a.dispose()
  })

  test('reports each gradient once, when all of it is enqueued', async () => {
    const [a, b] = [parameter(4, 4), parameter(6, 4)]
    const seen: { one: object; values: Promise<unknown> }[] = []
    const onGradient = (one: object) => {
      seen.push({ one, values: (one as Parameter).grad!.data() })
    }
    // The same parameter twice, one after the other.
    const loss = scope(() => linearCrossEntropy(factor(factor(matrix(3, 4), a), a), b, targets()))
    await loss.backward({ onGradient })
    loss.dispose()
    expect(seen.map(({ one }) => one)).toEqual([b, a])
    for (const [i, { grad }] of [b, a].entries()) expect(await seen[i]!.values).toEqual(await grad!.data())
    for (const one of [a, b]) one.dispose()
  })

  test('of a constant is refused', async () => {
    const constant = numbers(1)
    await expect(constant.backward()).rejects.toThrow('but this is a constant')
    constant.dispose()
  })
})

test('a parameter casts its values once per change', async () => {
  const p = new Parameter('p', numbers(1, 2))
  const first = p.as('bfloat16')
  expect(p.as('bfloat16')).toBe(first)
  p.assign(Float32Array.of(3, 4))
  const second = p.as('bfloat16')
  expect(second).not.toBe(first)
  expect(first.disposed).toBe(true)
  expect([...(await second.data())]).toEqual([3, 4])
  p.dispose()
  expect(second.disposed).toBe(true)
})
