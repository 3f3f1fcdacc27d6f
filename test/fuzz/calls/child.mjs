/**
 * Calls everything that the package and its addon export, mostly with one argument of a valid call changed: `node child.mjs
 * '{"seed": 1, "count": 1000, "scratch": "FOLDER", "golden": "FOLDER"}'`. Before each call, writes it to FOLDER/journal, in
 * case the process dies. Ends with a line of JSON.
 */
import { mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, Hostile, isHostile, Mischief } from './hostile.mjs'
import { excluded, isSlow, refusing, startsOf } from './starts.mjs'
import { targetsOf } from './surface.mjs'
import { World } from './world.mjs'

const { seed, count, scratch, golden } = JSON.parse(process.argv[2])
const dist = (name) => import(new URL(`../../../dist/${name}.js`, import.meta.url).href)
const library = await dist('index')
const { loadBinary, NativeError } = await dist('native/binary')
const { randomStream } = await dist('common/random')

/** Words of C++ and V8 that must not be in any message. */
const FOREIGN_WORDS = /std::|bad_alloc|bad_array|basic_string|vector::|v8::|napi|N-API|Check failed|0x[0-9a-f]{6}/i
const PATIENCE = 120_000
const KEPT = 12 // learned lists of arguments of a target

const problems = []
const figures = { calls: 0, succeeded: 0 }
const counts = new Map()

mkdirSync(join(scratch, 'a', 'b'), { recursive: true })
process.chdir(join(scratch, 'a', 'b')) // texts may be relative paths
const journal = openSync(join(scratch, 'journal'), 'w')
let last = 'nothing'
function write(text) {
  last = text
  writeSync(journal, Buffer.from(text.slice(0, 2000).padEnd(2000)), 0, undefined, 0)
}

const ENDLESS = new Error('it did not end')

function judge(error, when) {
  if (error instanceof Mischief) return
  const isFine = error instanceof Error && error !== ENDLESS && !FOREIGN_WORDS.test(error.message)
  if (!isFine)
    problems.push(`${last}: ${when}: ${error instanceof Error ? `${error.name}: ${error.message}` : describe(error)}`)
}
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => {
    if (!(error instanceof Mischief)) problems.push(`${last}: ${event}: ${error?.stack ?? describe(error)}`)
  })
}

const binary = loadBinary()
write('what everything is learned from')
const world = await World.make({ library, binary, NativeError, scratch, golden })
const targets = targetsOf({ '': library, 'native.': binary }, world.specimens()).filter(
  ({ name }) => !(name in excluded),
)
const starts = startsOf(world)
const learned = new Map()
const quick = targets.filter((target) => !isSlow(target))
const heavy = targets.filter(isSlow)

/** The outcome of a call once all of its work is done. */
async function settled(result) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(ENDLESS), PATIENCE)
  })
  try {
    return await Promise.race([outcome(result), late])
  } finally {
    clearTimeout(timer)
  }
}

async function outcome(result) {
  if (result instanceof library.Run) return await result.stop()
  // A server has memory of its own.
  if (typeof result?.unloadAdapter === 'function') return await result.close()
  const isIterator = typeof result?.next === 'function' && (Symbol.iterator in result || Symbol.asyncIterator in result)
  if (!isIterator) return await result
  await result.next()
  await result.next()
  await result.return?.()
  return result
}

/** Valid arguments of a target, if any are known. */
async function validList(random, { name }, isFirst) {
  if (isFirst && starts[name]) return await starts[name]()
  const lists = name.startsWith('native.') ? world.recorded.of(name.slice('native.'.length)) : []
  lists.push(...(learned.get(name) ?? []), ...(starts[name] ? [starts[name]] : []))
  if (lists.length === 0) return []
  return await lists[random.integer(lists.length)](world.parts.disposables)
}

function learn({ name }, given) {
  const isPlain = (one) =>
    one === null || typeof one !== 'object' || (!isHostile(one) && (Array.isArray(one) || ArrayBuffer.isView(one)))
  if (starts[name] || !given.every(isPlain)) return
  try {
    const kept = structuredClone(given)
    const lists = learned.get(name) ?? []
    if (lists.length < KEPT) learned.set(name, [...lists, () => structuredClone(kept)])
  } catch {
    // hostile ones cannot be cloned
  }
}

/** Frees the result of a call, which may be anything. */
function dispose(result) {
  try {
    const all = result !== null && typeof result === 'object' ? [result, ...Object.values(result)] : []
    for (const one of all) {
      if (one === world.model || one === world.dataset) continue
      if (typeof one?.dispose === 'function') one.dispose()
      if (one?.constructor?.name === 'NativeFile') one.close()
    }
  } catch (error) {
    judge(error, 'disposed of')
  }
}

async function call(index) {
  const random = randomStream(seed, 'calls', index)
  const isFirst = index < targets.length
  const among = random.uniform() < 0.02 ? heavy : quick
  const target = isFirst ? targets[index] : among[random.integer(among.length)]
  const hostile = new Hostile(random, world)
  world.parts = hostile.parts
  world.longest = /native/i.test(target.name) ? 2 ** 32 - 1 : 1000
  let given = await validList(random, target, isFirst)
  let receiver = target.owner && world.of(target.owner)
  for (const one of given) if (ArrayBuffer.isView(one)) hostile.parts.buffers.push(one.buffer)
  if (!isFirst) {
    const how = random.uniform()
    if (how > 0.9) given = hostile.anyList()
    else if (how > 0.1) given = hostile.changed(given)
    if (target.owner && random.uniform() < 0.08) receiver = hostile.like(receiver)
  }
  const on = target.owner ? `${describe(receiver)} ` : ''
  write(`${seed}:${index} ${on}${target.name}(${given.map((one) => describe(one)).join(', ')})`)
  const counted = counts.get(target.name) ?? { calls: 0, succeeded: 0 }
  counts.set(target.name, counted)
  let result
  try {
    counted.calls++
    result = await settled(target.invoke(receiver, given))
    counted.succeeded++
    if (isFirst && result instanceof Object) world.keep(result)
    learn(target, given)
  } catch (error) {
    judge(error, 'thrown')
    if (isFirst) counted.refusal = String(error?.message)
  }
  if (!isFirst) dispose(result)
  world.restore()
  for (const one of hostile.parts.disposables) dispose(one)
  await world.device.synchronize().catch((error) => judge(error, 'on the device'))
  if (isFirst ? ['Model', 'ForwardPasses'].includes(target.owner) : index % 500 === 0) await world.renew()
}

async function callAll() {
  for (let index = 0; index < count && problems.length < 50; index++) {
    await call(index)
    if (index % 50 !== 0 && index !== count - 1) continue
    await world.check().catch((error) => problems.push(`${last} or one before it: ${error.message}`))
    if (index % 400 === 0) globalThis.gc()
  }
}

function report() {
  for (const { calls, succeeded } of counts.values()) {
    figures.calls += calls
    figures.succeeded += succeeded
  }
  const failed = [...counts].filter(([name, { succeeded }]) => succeeded === 0 && !(name in refusing))
  const unknown = failed.map(([name, { refusal }]) => `${name}: ${refusal}`)
  return { ...figures, targets: targets.map(({ name }) => name), unknown, problems }
}

try {
  await callAll()
  writeSync(1, `${JSON.stringify(report())}\n`)
  process.exit(0)
} catch (error) {
  writeSync(2, `${error.stack}\n`)
  process.exit(1)
}
