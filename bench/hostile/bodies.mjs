import { setTimeout as sleep } from 'node:timers/promises'
import { Server } from './server.mjs'

const MOST = 8 * 2 ** 20
const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
const chat = (content) => `{"max_tokens": 2, "messages": [{"role": "user", "content": ${content}}]`

/** Repeats a text up to the largest body. */
const filled = (before, one, after) => {
  const count = Math.floor((MOST - before.length - after.length + 1) / (one.length + 1))
  return `${before}${`${one},`.repeat(count).slice(0, -1)}${after}`
}
const filledText = (before, one, after) =>
  before + one.repeat(Math.floor((MOST - before.length - after.length) / one.length)) + after
const keys = (before, value, after) => {
  const parts = []
  for (let [i, size] = [0, before.length + after.length]; ; i++) {
    const part = `"${i}":${value}`
    size += part.length + 1
    if (size > MOST) return before + parts.join() + after
    parts.push(part)
  }
}

/** Bodies of 8 MiB. */
const BODIES = {
  ids: [COMPLETIONS, filled('{"prompt": [', '1', ']}')],
  'prompts of ids': [COMPLETIONS, filled('{"prompt": [', '[1]', ']}')],
  'prompts of texts': [COMPLETIONS, filled('{"prompt": [', '"a"', ']}')],
  'a text': [COMPLETIONS, filledText('{"prompt": "', 'abcd ', '"}')],
  'a text of many bytes': [COMPLETIONS, `${filledText('{"prompt": "', '漢', '"}').slice(0, 2_700_000)}"}`],
  'a text of escapes': [COMPLETIONS, filledText('{"prompt": "', '\\u6f22', '"}')],
  'a text to tokenise': ['/tokenize', filledText('{"prompt": "', 'abcd ', '"}')],
  'a message': [CHAT, filledText('{"messages": [{"role": "user", "content": "', 'abcd ', '"}]}')],
  messages: [CHAT, filled('{"messages": [', '{"role":"user","content":"a"}', ']}')],
  'wrong messages': [CHAT, filled('{"messages": [', '1', ']}')],
  'messages without content': [CHAT, filled('{"messages": [', '{"role":"user"}', ']}')],
  lists: [CHAT, filled('{"messages": [', '[]', ']}')],
  parts: [CHAT, filled('{"messages": [{"role": "user", "content": [', '{"type":"text","text":"a"}', ']}]}')],
  'numbers in an unknown field': [CHAT, filled(`${chat('"a"')}, "unknown": [`, '1', ']}')],
  'texts in an unknown field': [CHAT, filled(`${chat('"a"')}, "unknown": [`, '"a"', ']}')],
  'numbers in an unsupported field': [CHAT, filled(`${chat('"a"')}, "stop_token_ids": [`, '1.5', ']}')],
  'stop strings': [CHAT, filled(`${chat('"a"')}, "stop": [`, '"a"', ']}')],
  'a long stop string': [CHAT, filledText(`${chat('"a"')}, "stop": ["`, 'ab', '"]}')],
  'a long bad word': [CHAT, filledText(`${chat('"a"')}, "bad_words": ["`, 'ab ', '"]}')],
  biases: [CHAT, keys(`${chat('"a"')}, "logit_bias": {`, '1', '}}')],
  choices: [COMPLETIONS, filled('{"prompt": "a", "structured_outputs": {"choice": [', '"ab"', ']}}')],
  'a long choice': [COMPLETIONS, filledText('{"prompt": "a", "structured_outputs": {"choice": ["', 'ab', '"]}}')],
  'a pattern': [COMPLETIONS, filledText('{"prompt": "a", "structured_outputs": {"regex": "', 'ab', '"}}')],
  'a grammar': [
    COMPLETIONS,
    filledText('{"prompt": "a", "structured_outputs": {"grammar": "root ::= ', 'a | ', 'a"}}'),
  ],
  'a schema of numbers': [
    COMPLETIONS,
    filled('{"prompt": "a", "structured_outputs": {"json": {"enum": [', '1', ']}}}'),
  ],
  'a schema of keys': [
    COMPLETIONS,
    keys('{"prompt": "a", "structured_outputs": {"json": {"properties": {', '{}', '}}}}'),
  ],
  'variables of a template': [CHAT, filled(`${chat('"a"')}, "chat_template_kwargs": {"a": [`, '1', ']}}')],
  'a text in variables': [CHAT, filledText(`${chat('"a"')}, "chat_template_kwargs": {"a": "`, 'ab', '"}}')],
  'a parameter of a tool': [
    CHAT,
    filled(
      `${chat('"a"')}, "tools": [{"type": "function", "function": {"name": "f", "parameters": {"enum": [`,
      '1',
      ']}}}]}',
    ),
  ],
  'the arguments of a call': [
    CHAT,
    filledText(
      '{"max_tokens": 2, "messages": [{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"',
      'ab',
      '"}}]}]}',
    ),
  ],
  'the model': [CHAT, filledText(`${chat('"a"')}, "model": "`, 'ab', '"}')],
  'a key': [CHAT, filledText('{"', 'ab', '": 1}')],
  parameters: [CHAT, keys('{', '1', '}')],
  inputs: ['/v1/embeddings', filled('{"input": [', '[1]', ']}')],
  'a text to embed': ['/v1/embeddings', filledText('{"input": "', 'abcd ', '"}')],
  'a number': [COMPLETIONS, filledText('{"prompt": "a", "temperature": ', '1', '}')],
  'nothing but space': [COMPLETIONS, filledText('', ' ', '')],
  'JSON that ends early': [COMPLETIONS, filled('{"prompt": [', '1', '')],
  'deep JSON': [COMPLETIONS, filledText('{"prompt": ', '[', '')],
}

/** Sends bodies of 8 MiB, one after the other: memory above that before, and time. */
export async function sendBodies({ model }) {
  const server = await Server.start(model)
  await server.post(CHAT, { messages: [{ role: 'user', content: 'Ada' }], max_tokens: 16 })
  await server.post('/tokenize', { prompt: 'a' })
  const rows = []
  const first = server.memory().now
  let [most, longest, slowest] = [0, 0, 0]
  for (const [what, [path, body]] of Object.entries(BODIES)) {
    await sleep(500)
    server.forgetPeak()
    const before = server.memory().now
    const asked = { isOver: false }
    const health = probeWhile(server, asked)
    const { status, seconds, text } = await server.post(path, body, { signal: AbortSignal.timeout(60_000) })
    asked.isOver = true
    const delay = await health
    const { peak } = server.memory()
    ;[most, longest, slowest] = [Math.max(most, peak - before), Math.max(longest, seconds), Math.max(slowest, delay)]
    const said = status === 200 ? '' : ` ${(/"message":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? text).slice(0, 60)}`
    console.error(what, status, seconds.toFixed(2), peak - before)
    rows.push([what, `${peak - before} MiB, ${seconds.toFixed(2)} s, ${status}${said}; /health ${delay.toFixed(2)} s`])
  }
  const { now } = server.memory()
  await server.stop()
  return [
    ...rows,
    ['most memory above before [MiB]', most, 300],
    ['longest answer [s]', longest.toFixed(2), 1],
    ['/health, at most [s]', slowest.toFixed(2), 1],
    ['memory after all of them above before [MiB]', now - first],
  ]
}

async function probeWhile(server, asked) {
  let most = 0
  while (!asked.isOver) {
    const start = performance.now()
    await fetch(`${server.origin}/health`)
    most = Math.max(most, performance.now() - start)
    await sleep(20)
  }
  return most / 1000
}
