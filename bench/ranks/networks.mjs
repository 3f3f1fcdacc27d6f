// Steps on 1, 2 and 4 ranks beside what the model of a step predicts of them, and the bytes that ranks send, on loopback and between
// machines with slow links.

import { milliseconds } from '../common/report.mjs'
import { table } from '../common/table.mjs'
import { median, spread } from '../common/turns.mjs'
import { glooJob, jobOfOne, latest, onLoopback } from './job.mjs'
import { Machines, whyNoMachines } from './machines.mjs'
import { bucketsOf, leastBytes, ringBytes, stepTime, sumsOfStep } from './step-model.mjs'

/** Allowed difference between prediction and measurement. */
const aim = 0.1
const mostRounds = 5

export async function measureNetworks(context) {
  const { links } = context
  const notes = []
  const measured = []
  for (const size of [1, 2, 4]) measured.push(await measureOn('loopback', size, onLoopback(size), context))
  for (const link of links) {
    const name = `${link.mbit} Mb/s${link.milliseconds ? ` and ${link.milliseconds} ms` : ''}`
    const why = whyNoMachines(link)
    if (why) {
      notes.push(`NOT MEASURED: links of ${name}, which need root, iproute2 and the kernel's tbf and netem. ${why}`)
      continue
    }
    for (const size of [2, 4]) {
      const machines = new Machines(size, link)
      try {
        measured.push(await measureOn(name, size, machines.places, context, machines))
      } finally {
        machines.close()
      }
    }
  }
  return {
    lines: measured.map(({ line }) => line),
    facts: measured.map(({ facts }) => facts),
    notes: [reportOf(measured), ...notes],
  }
}

/** Steps of `count` ranks, each after a step of the same processes without communication, which measures their own work. */
async function measureOn(name, size, places, { options, script, task }, machines) {
  const what = `a step on ${name}, ${size} ${size === 1 ? 'rank' : 'ranks'}`
  const job = size === 1 ? jobOfOne(what, script, task) : await glooJob(what, places, script, task)
  try {
    const { layers, trained } = await job.ready()
    await job.step({ how: 'ranks' })
    const network = await measuredNetwork(job, size)
    const blocks = gradientBytes(trained, layers)
    const rounds = []
    for (let round = 0; round < Math.min(options.rounds, mostRounds); round++) {
      const alone = await job.step({ how: 'alone' })
      const before = machines?.bytesSent()
      const { seconds } = await job.step({ how: 'ranks' })
      const sent = machines?.bytesSent().map((bytes, i) => bytes - before[i])
      const work = workOf(alone.answers, layers)
      const buckets = size === 1 ? [] : bucketsOf(blocks, leastBytes)
      const predicted = stepTime({ work, buckets, network, sums: sumsOfStep }).seconds
      rounds.push({ seconds, predicted, sent: sent && Math.max(...sent) })
    }
    const ring = ringBytes(
      size,
      blocks.reduce((sum, bytes) => sum + bytes, 0),
    )
    const facts = {
      network: name,
      ...network,
      ring,
      predicted: median(rounds.map(({ predicted }) => predicted)),
      ratio: median(rounds.map(({ seconds, predicted }) => predicted / seconds)),
      sent: machines ? median(rounds.map(({ sent }) => sent)) : null,
    }
    const seconds = spread(rounds.map((round) => round.seconds))
    console.error(`${what}: ${milliseconds(seconds.median)} ms, predicted ${milliseconds(facts.predicted)} ms`)
    return { line: { name: what, sides: [{ name: 'node-mora', seconds }] }, facts }
  } finally {
    await job.stop()
  }
}

/** Latency and bandwidth for the model, from sums of a few numbers and of many. */
async function measuredNetwork(job, ranks) {
  if (ranks === 1) return { ranks, latency: 0, bandwidth: Number.POSITIVE_INFINITY }
  const sum = async (elements, times) => {
    const answers = await job.ask({ task: 'sums', elements, times })
    return median(answers[0].seconds.map((_, i) => Math.max(...answers.map(({ seconds }) => seconds[i]))))
  }
  const [few, many] = [2 ** 14, 2 ** 19]
  const latency = (await sum(0, 20)) / (2 * (ranks - 1))
  const [ofFew, ofMany] = [await sum(few, 5), await sum(many, 5)]
  return { ranks, latency, bandwidth: ringBytes(ranks, 4 * (many - few)) / (ofMany - ofFew) }
}

/** Work of the slowest rank. */
function workOf(answers, layers) {
  const longest = (from, to) => Math.max(...answers.map((answer) => answer[to] - answer[from]))
  const each = (seconds) => new Array(layers).fill(seconds / layers)
  return {
    forward: each(longest('begin', 'forward')),
    head: 0,
    backward: each(longest('forward', 'backward')),
    rest: latest(answers, 'end') - latest(answers, 'backward'),
  }
}

/** Bytes of each block's gradients. */
function gradientBytes(trained, layers) {
  const blocks = new Array(layers).fill(0)
  for (const { name, bytes } of trained) blocks[Number(/\.(\d+)\./.exec(name)?.[1])] += bytes
  return blocks
}

function reportOf(measured) {
  const cell = (value, isThere, text) => (isThere ? text(value) : '-')
  const megabytes = (bytes) => (bytes / 1e6).toFixed(2)
  const rows = measured.map(({ line, facts: { ranks, latency, bandwidth, ring, sent, predicted, ratio } }) => [
    line.name,
    cell(latency, ranks > 1, (value) => (1e6 * value).toFixed(0)),
    cell(bandwidth, ranks > 1, (value) => ((8 * value) / 1e6).toFixed(0)),
    cell(sent, sent !== null, megabytes),
    cell(ring, ranks > 1, megabytes),
    cell(sent, sent !== null, (value) => `${(value / ring).toFixed(3)}×`),
    milliseconds(line.sides[0].seconds.median),
    milliseconds(predicted),
    `${ratio.toFixed(3)}×`,
    Math.abs(ratio - 1) <= aim ? 'yes' : 'NO',
  ])
  const sums = ['µs a message', 'Mb/s', 'MB a rank sends', "a ring's", 'ratio']
  const steps = ['ms measured', 'predicted', 'ratio', `within ${100 * aim} %`]
  return `What ranks send in a step, and what the model of one predicts\n${table(['', ...sums, ...steps], rows)}`
}
