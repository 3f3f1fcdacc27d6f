/**
 * A model learns to use a calculator: supervised fine-tuning on a few worked conversations, then GRPO, whose reward is the right answer.
 * Measured on questions that are not trained, greedily, before and after both.
 *
 *     node experiments/objectives/calculator.ts --model SmolLM2-135M-Instruct.Q4_1.gguf --output out/calculator
 *     (Node 22.18 or newer; before: npx jiti)
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { answerMessage, answerReward, grpo, type Message, type Model, TextEngine, train } from 'node-mora'
import { calculate } from './arithmetic.ts'
import { isStarted, meanOf, optionsOf, report } from './experiment.ts'

/** ChatML with functions, which the model's own template does not know. */
const TEMPLATE = `{%- if tools %}<|im_start|>system
Call functions as <tool_call>{"name": NAME, "arguments": {…}}</tool_call>. Functions: {% for tool in tools %}{{ tool.function | tojson }}{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

const calculator = {
  description: 'Computes an expression of numbers, + - * / and brackets.',
  parameters: { type: 'object', properties: { expression: { type: 'string' } }, required: ['expression'] },
  run: ({ expression }: Record<string, unknown>) => String(calculate(String(expression))),
}
const tools = { calculator }
const { run: _, ...described } = calculator
const schemas = [{ type: 'function', function: { name: 'calculator', ...described } }]

/** A kind of question: its text and its expression for two or three numbers. */
type Kind = (a: number, b: number, c: number) => [question: string, expression: string]

const KINDS: Kind[] = [
  (a, b) => [`What is ${a} times ${b}?`, `${a} * ${b}`],
  (a, b) => [`What is ${a} plus ${b}?`, `${a} + ${b}`],
  (a, b) => [`What is ${a + b} minus ${b}?`, `${a + b} - ${b}`],
  (a, b) => [`A box holds ${a} pens. How many pens are in ${b} boxes?`, `${a} * ${b}`],
  (a, b) => [`Anna has ${a} stamps and buys ${b} more. How many has she now?`, `${a} + ${b}`],
  (a, b) => [`A shop had ${a + b} lamps and sold ${b}. How many are left?`, `${a + b} - ${b}`],
  (a, b, c) => [
    `A train has ${a} cars with ${b} seats each, and ${c} seats are taken. How many are free?`,
    `${a} * ${b} - ${c}`,
  ],
  (a, b, c) => [`Ben saves ${a} a week for ${b} weeks and had ${c} before. How much has he?`, `${a} * ${b} + ${c}`],
]

interface Sum {
  messages: Message[]
  expression: string
  answer: string
  [column: string]: unknown
}

/** Returns questions: all kinds in turn, with numbers from a fixed sequence. */
function sums(count: number, start: number): Sum[] {
  let state = start
  const number = (most: number) => {
    state = (state * 1103515245 + 12345) % 2147483648
    return 2 + (Math.floor(state / 65536) % (most - 2))
  }
  return Array.from({ length: count }, (_, i) => {
    const [content, expression] = KINDS[i % KINDS.length]!(number(400) + 20, number(90) + 10, number(90))
    return { messages: [{ role: 'user', content }], expression, answer: String(calculate(expression)) }
  })
}

/** A conversation in which the calculator is used. */
const worked = ({ messages, expression, answer }: Sum) => ({
  messages: [
    ...messages,
    {
      role: 'assistant',
      content: '',
      tool_calls: [{ type: 'function', function: { name: 'calculator', arguments: { expression } } }],
    },
    { role: 'tool', name: 'calculator', content: answer },
    { role: 'assistant', content: `The answer is ${answer}.` },
  ],
  tools: schemas,
})

/** Returns the share of questions that are answered right, greedily, with the calculator at hand. */
async function accuracy(model: Model, questions: readonly Sum[], template: string): Promise<number> {
  const engine = new TextEngine(model, { sequences: 32 })
  const isRight = answerReward()
  const answered = await Promise.all(
    questions.map(async (row) => {
      const messages = [...row.messages]
      let completion = ''
      for (let turn = 0; turn < 4; turn++) {
        const call = { messages, tools: schemas, template, maxNewTokens: 64, temperature: 0 }
        const { text, toolCalls = [] } = await engine.generate(call)
        completion = text
        if (toolCalls.length === 0) break
        messages.push(answerMessage({ content: text, toolCalls }))
        for (const { name, arguments: given } of toolCalls)
          messages.push({ role: 'tool', name, content: said(() => calculator.run(given)) })
      }
      const judged = { prompt: '', completion, row, messages, ids: [], hasEnded: true }
      return isRight({ ...judged, environment: undefined, signal: undefined })
    }),
  )
  await engine.close()
  return meanOf(answered.map(Number))
}

function said(work: () => unknown): string {
  try {
    return String(work())
  } catch (error) {
    return `Error: ${(error as Error).message}`
  }
}

export async function main(args: readonly string[]): Promise<object> {
  const { output, model, steps, batch, group, learningRate, minutes } = await optionsOf('calculator', args, {
    steps: 60,
    learningRate: 1e-4,
  })
  await mkdir(output, { recursive: true })
  const template = join(output, 'template.jinja')
  await writeFile(template, TEMPLATE)
  const heldOut = sums(160, 99)
  const before = await accuracy(model, heldOut, template)
  console.error(`before: ${before}`)
  const course = { template, scheduler: 'constant', learningRate } as const
  const examples = sums(48, 1).map(worked)
  await train(model, {
    method: 'lora',
    rank: 16,
    data: examples,
    epochs: 3,
    batchSize: 8,
    ...course,
    learningRate: 5e-4,
  }).finished
  const afterSft = await accuracy(model, heldOut, template)
  console.error(`after SFT: ${afterSft}`)
  const objective = grpo({ rewards: { right: answerReward() }, tools, groupSize: group, maxNewTokens: 96, maxTurns: 3 })
  const run = train(model, {
    ...{ objective, data: sums(400, 7), batchSize: batch, maxSteps: steps, ...course },
    ...{ output: join(output, 'grpo'), overwrite: true },
  })
  const curve: number[] = []
  for await (const event of run) {
    if (event.type !== 'step') continue
    curve.push(event.metrics!.reward!)
    console.error(`${event.step} ${minutes()} min: ${JSON.stringify(event.metrics)}`)
  }
  await run.finished
  const after = await accuracy(model, heldOut, template)
  await model.dispose()
  return report(output, {
    experiment: 'calculator',
    before,
    afterSft,
    afterGrpo: after,
    questions: 160,
    minutes: minutes(),
    curve,
  })
}

if (isStarted(import.meta.url)) console.log(JSON.stringify(await main(process.argv.slice(2)), null, 2))
