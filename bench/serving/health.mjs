import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { lora, train } from 'node-mora'
import { textIds, writeTokenRows } from '../common/batch.mjs'
import { serveToClient } from './client.mjs'
import { CONSTRAINTS } from './constrained.mjs'

const CLIENTS = 8

/**
 * Measures how long /health takes while clients have texts written, some by a schema, and an adapter is trained in the same process.
 * @param {any} model
 * @param {string} folder for the run
 * @param {number} seconds
 */
export async function askHealth(model, folder, seconds) {
  const [rows, length] = [4, 256]
  const data = join(folder, 'rows.jsonl')
  writeTokenRows(data, await textIds(model.tokenizer, rows, length), rows, length)
  await model.addAdapter('trained', lora({ rank: 8 }), { seed: 1 })
  const { llm, client, origin, close } = await serveToClient(model, 'health-client.mjs')
  const run = train(model, { data, output: join(folder, 'run'), batchSize: rows, maxLength: length, maxSteps: 10_000 })
  await run.started
  const writers = { isOver: false }
  const writing = Promise.all(Array.from({ length: CLIENTS }, (_, i) => write(llm, i, writers)))
  const ask = (duration) => client.ask({ url: `${origin}/health`, seconds: duration })
  await ask(10) // until schemas are compiled and steps have been taken
  const watched = longestTurns()
  const times = await ask(seconds)
  const turns = watched.stop()
  writers.isOver = true
  await writing
  await run.stop()
  await close()
  return { health: quantiles(times.asked), idle: quantiles(times.own), turns }
}

/** Has texts written, one after the other, until it is over. */
async function write(llm, client, writers) {
  const { schema } = Object.values(CONSTRAINTS)[client % 4]
  const format = client < 4 && { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } }
  const messages = [{ role: 'user', content: `Write a short story about the number ${client}.` }]
  while (!writers.isOver) {
    const body = JSON.stringify({ model: 'base', messages, max_tokens: 64, stream: client % 2 === 0, ...format })
    const headers = { 'content-type': 'application/json' }
    const answer = await llm.fetch(new Request('http://here/v1/chat/completions', { method: 'POST', headers, body }))
    const text = await answer.text()
    if (answer.status !== 200) throw new Error(text)
  }
}

/** Measures the processor's time [ms] of turns of the event loop, which other processes do not lengthen. */
function longestTurns() {
  const own = () => Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6
  const all = []
  let [before, isOver] = [own(), false]
  const turn = () => {
    const now = own()
    all.push(now - before)
    before = own()
    if (!isOver) setTimeout(turn, 1)
  }
  setTimeout(turn, 1)
  return {
    stop: () => {
      isOver = true
      return quantiles(all)
    },
  }
}

function quantiles(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
  return { median: at(0.5), p99: at(0.99), most: at(1) }
}
