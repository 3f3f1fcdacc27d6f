import { setTimeout as sleep } from 'node:timers/promises'
import { countsOf, quantile, repeat, Server } from './server.mjs'

const strings = (count, salt, more) => ({
  type: 'object',
  properties: Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`k${salt}_${i}`, { type: 'string', ...more }]),
  ),
  required: Array.from({ length: count }, (_, i) => `k${salt}_${i}`),
  additionalProperties: false,
})
const optional = (count, salt) => ({
  type: 'object',
  properties: Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${salt}_${i}`, { type: 'string' }])),
})
const chain = (count, salt) =>
  Array.from({ length: count }, (_, i) => `${i === 0 ? 'root' : `r${i}`} ::= "${salt}" r${i + 1}`).join('\n')

/** Constraints that take long, a new one for each number. */
const HOSTILE = [
  (i) => ({ json: strings(20, i, { maxLength: 512 }) }),
  (i) => ({ json: strings(4, i, { maxLength: 509 + (i % 4), minLength: 400 }) }),
  (i) => ({ json: optional(2000, i) }),
  (i) => ({ grammar: `root ::= (("${i}"{0,300}){0,300}){0,300}` }),
  (i) => ({ grammar: chain(5000, i) }),
  (i) => ({ regex: `(((${i}{999}){999}){999}){999}` }),
  (i) => ({ regex: `([a-z]{0,30} ){30}${i}` }),
  (i) => ({ choice: Array.from({ length: 16_000 }, (_, k) => `label ${k} ${i}`) }),
  (i) => ({ json: { type: 'array', minItems: 200, items: strings(3, i, { maxLength: 300 }) } }),
]

/** Constraints that are wrong, each found without compiling it. */
const WRONG = [
  (i) => ({ json: { type: 'array', contains: { const: i } } }),
  (i) => ({ json: { type: 'array', maxItems: `x${i}` } }),
  (i) => ({ json: { type: 'string', minLength: -i - 1 } }),
  (i) => ({ json: { type: 'object', properties: { [`a${i}`]: { $ref: '#/nowhere' } } } }),
  (i) => ({ regex: `(?=a)${i}` }),
  (i) => ({ regex: `a${i}`.repeat(40_000) }),
  (i) => ({ grammar: `root ::= nothing${i}` }),
]

const ordinary = (i) => ({
  json: {
    type: 'object',
    properties: {
      [`name${i}`]: { type: 'string' },
      age: { type: 'integer' },
      tags: { type: 'array', items: { type: 'string' } },
    },
    required: [`name${i}`, 'age', 'tags'],
    additionalProperties: false,
  },
})

/** Nine clients ask for constraints that take long, while others ask for ordinary and for wrong ones, and for texts without any. */
export async function askForConstraints({ model, seconds }) {
  const server = await Server.start(model)
  const ask = (constraint, more = {}) =>
    server.post('/v1/completions', { prompt: 'Ada', max_tokens: 1, structured_outputs: constraint, ...more })
  await ask(ordinary('first'))
  await server.post('/v1/completions', { prompt: 'Ada', max_tokens: 64, stream: true })
  await sleep(1000)
  server.forgetPeak()
  const before = server.memory().now
  /** @type {Awaited<ReturnType<typeof ask>>[][]} */
  const [quick, wrong] = [[], []]
  /** @type {number[][]} */
  const [gaps, hostile] = [[], []]
  const others = HOSTILE.map((of, kind) =>
    repeat(seconds, async (i) => hostile.push((await ask(of(100 * i + kind), { max_tokens: 16 })).status)),
  )
  const clients = [
    repeat(seconds, async (i) => quick.push(await ask(ordinary(i)))),
    repeat(seconds, async (i) => wrong.push(await ask(WRONG[i % WRONG.length](i)))),
    repeat(seconds, async () => {
      let last = 0
      const onPiece = () => {
        if (last > 0) gaps.push(performance.now() - last)
        last = performance.now()
      }
      await server.post('/v1/completions', { prompt: 'Ada', max_tokens: 256, stream: true }, { onPiece })
    }),
  ]
  const health = await server.probe(seconds)
  const { peak } = server.memory()
  const stopped = await server.stop()
  await Promise.all([...clients, ...others])
  const secondsOf = (answers) => answers.filter(({ status }) => status !== 0).map(({ seconds }) => seconds)
  const most = (values) => Math.max(0, ...values).toFixed(2)
  return [
    ['/health, at most [s]', (health.most / 1000).toFixed(2), 1],
    ['the same of an idle process [s]', (health.idle / 1000).toFixed(2)],
    ['wrong constraints, 400 after at most [s]', most(secondsOf(wrong)), 1],
    ...WRONG.map((_, kind) => [
      `those of kind ${kind + 1} [s]`,
      most(secondsOf(wrong.filter((__, i) => i % WRONG.length === kind))),
    ]),
    ['their statuses', countsOf(wrong.map(({ status }) => status))],
    [
      'ordinary schemas, median and at most [s]',
      `${quantile(secondsOf(quick), 0.5).toFixed(2)}, ${most(secondsOf(quick))}`,
    ],
    ['their statuses', countsOf(quick.map(({ status }) => status))],
    ['statuses of hostile ones', countsOf(hostile)],
    ['gaps of a stream, median and at most [ms]', `${quantile(gaps, 0.5).toFixed(0)}, ${Math.max(...gaps).toFixed(0)}`],
    ['memory above before [MiB]', peak - before],
    ['SIGTERM, until the end [s]', stopped.toFixed(2), 2],
  ]
}
