// What a server takes from hostile clients, beside others: `mora serve` in a process of its own, whose figures are compared with aims.
//   node bench/hostile.mjs [MODEL] [--parts constraints,bodies,prompts,aborts,adapters,unread] [--seconds 20]

import { orUsageError } from './common/command-line.mjs'
import { describeMachine } from './common/machine.mjs'
import { list, readOptions, whole } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { table } from './common/table.mjs'
import { abortRequests } from './hostile/aborts.mjs'
import { swapAdapters } from './hostile/adapters.mjs'
import { sendBodies } from './hostile/bodies.mjs'
import { askForConstraints } from './hostile/constraints.mjs'
import { sendPrompts } from './hostile/prompts.mjs'
import { leaveUnread } from './hostile/unread.mjs'

/** What each part measures: rows of [what, value, aim]. */
const PARTS = {
  constraints: askForConstraints,
  bodies: sendBodies,
  prompts: sendPrompts,
  aborts: abortRequests,
  adapters: swapAdapters,
  unread: leaveUnread,
}
const options = readOptions({
  usage: `node bench/hostile.mjs [MODEL] [options]: a server under attack.

  --parts LIST   what is measured: of ${Object.keys(PARTS).join(', ')}; default all
  --seconds N    how long each attack without an end takes, default 20
  --requests N   aborted requests, default 10000`,
  own: {
    parts: { type: 'string', default: Object.keys(PARTS).join() },
    seconds: { type: 'string', default: '20' },
    requests: { type: 'string', default: '10000' },
  },
  rounds: 1,
})
const { parts, seconds, requests } = orUsageError(() => ({
  parts: list(options.parts),
  seconds: whole('seconds', options.seconds, 1),
  requests: whole('requests', options.requests, 1),
}))
const machine = describeMachine(options.model, options)
/** @type {(string | number)[][]} */
const figures = []
for (const part of parts) {
  const found = await PARTS[part]({ model: options.model, folder: scratchFolder(), seconds, requests })
  const rows = found.map(([what, value, aim = '']) => [part, what, value, aim])
  console.log(`\n${table(['attack', 'what', 'measured', 'aim'], rows)}`)
  figures.push(...rows)
}
report({ benchmark: 'hostile', machine, options, lines: [], facts: { figures } })
