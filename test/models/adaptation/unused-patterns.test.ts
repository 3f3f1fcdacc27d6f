/** Ranks and alphas by patterns that match no layer would do nothing; they are refused with the candidates. */
import { expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { loadTiny } from '../../golden/tiny-models.js'

const code = (expected: string, message: RegExp) =>
  expect.objectContaining({ code: expected, message: expect.stringMatching(message) })

test('patterns that fit no layer of the adapter are refused with the candidates', async () => {
  using model = await loadTiny('tiny-untied')
  const add = (options: object) => () =>
    model.addAdapter('a', lora({ targetModules: ['q_proj', 'v_proj'], ...options }))
  expect(add({ rankPattern: { q_proj: 2, up_proj: 4 } })).toThrow(
    code('no-target', /^up_proj in rankPattern match no layer of the adapter; candidates: q_proj, v_proj\.$/),
  )
  expect(add({ alphaPattern: { 'layers.7.*': 4 } })).toThrow(code('no-target', /layers\.7\.\* in alphaPattern/))
  expect(model.adapters.size).toBe(0)
  await add({ rankPattern: { 'layers.0.*': 2 }, alphaPattern: { v_proj: 3 } })()
})
