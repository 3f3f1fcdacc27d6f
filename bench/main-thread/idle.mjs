// The other side of bench/main-thread.mjs: a process that only waits. Answers each request with the longest delay [seconds]
// of its event loop since the previous request: the delay that the system's scheduler causes for any process.
import { createInterface } from 'node:readline'
import { loopDelay } from './loop-delay.mjs'

const delay = loopDelay()
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({})
for await (const _ of createInterface({ input: process.stdin })) say({ longest: delay.longest() })
