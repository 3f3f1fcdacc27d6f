/** Arguments that an attacker would hand over: valid ones, changed, which act while they are being read. */
/** The error that hostile arguments throw themselves. */
export class Mischief extends Error {}

const names = new WeakMap()

/** Attaches the text that describes an object in a journal, because inspecting it would run its code. */
function named(name, object) {
  names.set(object, name)
  return object
}

export const isHostile = (value) => names.has(value)

/** Describes a value in few words, without running its code. */
export function describe(value, depth = 3) {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (value === null || (typeof value !== 'object' && typeof value !== 'function'))
    return Object.is(value, -0) ? '-0' : String(value)
  if (names.has(value)) return names.get(value)
  if (depth === 0) return '…'
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`
  if (Array.isArray(value)) {
    const items = value.slice(0, 6).map((item) => describe(item, depth - 1))
    return `[${items.join(', ')}${value.length > 6 ? `, … ${value.length}` : ''}]`
  }
  if (typeof value === 'function') return `function ${value.name}`
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return prototype.constructor?.name ?? 'an object'
  const fields = Object.entries(value).map(([key, field]) => `${key}: ${describe(field, depth - 1)}`)
  return `{ ${fields.join(', ')} }`
}

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  2,
  3,
  7,
  64,
  255,
  256,
  257,
  0.5,
  -0.5,
  1.5,
  1e-300,
  1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.MAX_VALUE,
  Number.MIN_VALUE,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 1,
  2 ** 40,
  2 ** 52,
  2 ** 52 + 1,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 53),
  2 ** 60,
  2 ** 61,
  2 ** 62,
  2 ** 63,
  -(2 ** 63),
  2 ** 64,
]
const BIGINTS = [0n, 1n, -1n, 2n ** 31n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n]
const TEXTS = [
  '',
  'nowhere',
  '.',
  './a/b',
  'float32',
  'bfloat16',
  'int64',
  'q8_0',
  'q4_k',
  'cpu',
  'cuda',
  'runs',
  'gelu',
  '__proto__',
  'constructor',
  'NaN',
  '1',
  'nothing/there',
  'a\0b',
  '\ud800',
  '\u202e{{x}}',
  '%s%n',
  'x'.repeat(500),
]
const ARRAYS = [
  Float32Array,
  Float64Array,
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  BigInt64Array,
  BigUint64Array,
]
const TRAPS = ['get', 'set', 'has', 'ownKeys', 'getOwnPropertyDescriptor', 'getPrototypeOf', 'defineProperty', 'apply']

/**
 * @param {import('../../../lib/common/random.js').RandomStream} random
 * @param {object} world
 * @param {(size: number) => Iterable<unknown>} world.objects of every kind that the library has
 * @param {readonly ((() => unknown))[]} world.reentries calls that an argument may make while it is read
 */
export class Hostile {
  /** The objects in the arguments of this call, on which side effects act. */
  parts = { disposables: [], buffers: [], arrays: [] }
  #random
  #world

  constructor(random, world) {
    this.#random = random
    this.#world = world
  }

  #pick(items) {
    return items[this.#random.integer(items.length)]
  }

  /** True in this share of cases. */
  #chance(share) {
    return this.#random.uniform() < share
  }

  /** Changes arguments of a call; mostly one of them. */
  changed(given) {
    const random = this.#random
    const result = [...given]
    this.parts.arrays.push(result)
    if (result.length === 0 || this.#chance(0.06)) result.push(this.anything())
    const count = this.#chance(0.75) ? 1 : 2
    for (let i = 0; i < count; i++) {
      const at = random.integer(result.length)
      result[at] = this.like(result[at])
    }
    if (this.#chance(0.04)) result.length = random.integer(result.length)
    return result
  }

  /** Arguments for a target without known ones. */
  anyList() {
    return Array.from({ length: this.#random.integer(5) }, () => this.anything())
  }

  anything() {
    return this.#pick([
      () => undefined,
      () => null,
      () => this.#chance(0.5),
      () => this.#pick(NUMBERS),
      () => this.#pick(BIGINTS),
      () => this.#pick(TEXTS),
      () => Symbol('s'),
      () => this.#array(),
      () => [1, 2],
      () => [],
      () => ({}),
      () => this.#number(2),
      () => this.#function(() => 1),
      () => Promise.resolve(1),
      () => new Date(0),
      () => new Map([[1, 2]]),
      () => this.#world.object(this.#random),
      () => this.#world.object(this.#random),
      () => this.#proxy(this.#world.object(this.#random)),
    ])()
  }

  /** A value to replace a valid one. */
  like(value) {
    if (this.#chance(0.15) || isHostile(value)) return this.anything()
    if (typeof value === 'number') return this.#number(value)
    if (typeof value === 'string') return this.#text(value)
    if (typeof value === 'boolean') return this.#pick([!value, 0, 'false', this.#number(1), {}])
    if (typeof value === 'function') return this.#function(value)
    if (value === null || typeof value !== 'object') return this.anything()
    if (ArrayBuffer.isView(value)) return this.#array(value)
    if (Array.isArray(value)) return this.#list(value)
    const prototype = Object.getPrototypeOf(value)
    if (prototype === Object.prototype || prototype === null) return this.#record(value)
    return this.#object(value)
  }

  #number(value) {
    return this.#pick([
      () => this.#pick(NUMBERS),
      () => this.#pick(NUMBERS),
      () => this.#pick(BIGINTS),
      () => this.#primitive(value),
      () => this.#primitive(value),
      () => String(value),
    ])()
  }

  #text(value) {
    return this.#pick([() => this.#pick(TEXTS), () => this.#primitive(value), () => new String(value)])()
  }

  /** An object that acts when it is converted to its value. */
  #primitive(value) {
    const act = this.#effect()
    const converted = () => {
      act()
      return value
    }
    const how = this.#pick(['valueOf', 'toString', Symbol.toPrimitive])
    return named(`{ ${String(how)}: ${describe(act)}, then ${describe(value)} }`, { [how]: converted })
  }

  #array(like = Float32Array.of(1, 2, 3, 4)) {
    const { length } = like
    const bytes = like.byteLength
    const own = ARRAYS.includes(like.constructor) ? like.constructor : Uint8Array
    const Kind = this.#pick([own, own, ...ARRAYS])
    const unit = Kind.BYTES_PER_ELEMENT
    const fits = Math.floor(bytes / unit)
    const over = (buffer, ...place) => {
      new Uint8Array(buffer).set(new Uint8Array(like.buffer, like.byteOffset, bytes).subarray(0, buffer.byteLength))
      this.parts.buffers.push(buffer)
      return new Kind(buffer, ...place)
    }
    const resizable = () => new ArrayBuffer(fits * unit, { maxByteLength: 2 * bytes + 64 })
    return this.#pick([
      () => named(`a resizable ${Kind.name} of ${fits}`, over(resizable(), 0, fits)),
      () => named(`a growing ${Kind.name}`, over(resizable())),
      () => named(`a shared ${Kind.name} of ${fits}`, over(new SharedArrayBuffer(bytes), 0, fits)),
      () => over(new ArrayBuffer(bytes + 2 * unit), unit, fits),
      () => new Kind(this.#pick([0, 1, length, length + 1, Math.max(0, length - 1)])),
      () => {
        const array = over(new ArrayBuffer(bytes), 0, fits)
        structuredClone(array.buffer, { transfer: [array.buffer] })
        return named(`a detached ${Kind.name}`, array)
      },
      () => new DataView(over(new ArrayBuffer(bytes), 0, fits).buffer),
      () => over(new ArrayBuffer(bytes), 0, fits).buffer,
      () => this.#proxy(like),
      () => Array.from(like).slice(0, 100),
    ])()
  }

  #list(list) {
    const random = this.#random
    const copy = [...list]
    this.parts.arrays.push(copy)
    const at = random.integer(copy.length + 1)
    return this.#pick([
      () => Object.assign(copy, { [at]: this.like(copy[at]) }),
      () => Object.assign(copy, { [at]: this.like(copy[at]) }),
      () => {
        const act = this.#effect()
        const value = copy[at]
        const get = () => {
          act()
          return value
        }
        Object.defineProperty(copy, at, { get, enumerable: true, configurable: true })
        return named(`[${at}: get ${describe(act)}, then ${describe(value)}]`, copy)
      },
      () => copy.slice(0, random.integer(copy.length + 1)),
      () => [...copy, ...copy],
      () => this.#proxy(copy),
      () => named('a list with a length of its own', Object.assign(Object.create(Array.prototype), copy)),
      () => named('a long list of holes', new Array(this.#world.longest)),
      () => Float64Array.from(copy, (one) => (typeof one === 'number' ? one : 1)),
      () => named('a list that cannot be iterated', Object.assign(copy, { [Symbol.iterator]: () => this.#throw() })),
    ])()
  }

  #record(record) {
    const keys = Object.keys(record)
    if (keys.length === 0) return this.anything()
    const key = this.#pick(keys)
    const { [key]: value, ...rest } = record
    return this.#pick([
      () => ({ ...record, [key]: this.like(value) }),
      () => ({ ...record, [key]: this.like(value) }),
      () => ({ ...record, [key]: this.like(value) }),
      () => {
        const act = this.#effect()
        const get = () => {
          act()
          return value
        }
        const copy = Object.defineProperty(rest, key, { get, enumerable: true })
        return named(`{ get ${key}: ${describe(act)}, then ${describe(value, 1)} }`, copy)
      },
      () => rest,
      () => Object.assign(Object.create(null), record),
      () => this.#proxy(record),
    ])()
  }

  /** A replacement of an object: another, one of another class, or one that only looks like it. */
  #object(object) {
    return this.#pick([
      () => this.#world.variant(this.#random, object, this.parts),
      () => this.#world.variant(this.#random, object, this.parts),
      () => this.#world.object(this.#random),
      () => this.#proxy(object),
      () => named(`an object made from ${describe(object)}`, Object.create(object)),
      () => null,
      () => undefined,
    ])()
  }

  #function(value) {
    const act = this.#effect()
    return this.#pick([
      () => named(`() => ${describe(act)}`, () => act()),
      // The callee may ignore the promise.
      () => named(`async () => ${describe(act)}`, () => handled((async () => act())())),
      () =>
        named(`${describe(act)}, then the function`, (...given) => {
          act()
          return Reflect.apply(value, undefined, given)
        }),
      () => named('a function that gives something else', () => this.#world.object(this.#random)),
      () => this.#proxy(value),
      () => Object,
    ])()
  }

  /** Throws, lies or acts in one of its traps. */
  #proxy(target) {
    if (target === null || (typeof target !== 'object' && typeof target !== 'function')) return target
    const trap = this.#pick(TRAPS)
    const act = this.#effect()
    const lie = this.#pick([undefined, null, 0, {}, [], true, 2 ** 52, 'then'])
    const acts = (...given) => {
      act()
      return Reflect[trap](...given)
    }
    const [how, answer] = this.#pick([
      ['acts', acts],
      ['lies', () => lie],
      ['throws', () => this.#throw()],
    ])
    const does = how === 'lies' ? `lies (${describe(lie)})` : how === 'acts' ? describe(act) : how
    return named(`a proxy of ${describe(target)} whose ${trap} ${does}`, new Proxy(target, { [trap]: answer }))
  }

  #throw() {
    throw new Mischief('on purpose')
  }

  /** A side effect that a caller's code may have while its arguments are read. */
  #effect() {
    const { disposables, buffers, arrays } = this.parts
    const each = (list, body) => () => {
      for (const one of list) body(one)
    }
    const grow = (array) => {
      if (array.length < 1000) array.push(...Array.from({ length: 64 }, () => array[0]))
    }
    const detach = (buffer) => {
      if (buffer instanceof ArrayBuffer) structuredClone(buffer, { transfer: [buffer] })
    }
    const resize = (size) => (buffer) => {
      if (buffer instanceof ArrayBuffer && buffer.resizable) buffer.resize(size(buffer))
    }
    const [name, act] = this.#pick([
      ['throws', () => this.#throw()],
      ['disposes of everything', each(disposables, (one) => one.dispose())],
      ['disposes of everything', each(disposables, (one) => one.dispose())],
      ['detaches buffers', each(buffers, detach)],
      [
        'shrinks buffers',
        each(
          buffers,
          resize(() => 0),
        ),
      ],
      [
        'grows buffers',
        each(
          buffers,
          resize(({ maxByteLength }) => maxByteLength),
        ),
      ],
      ['grows lists', each(arrays, grow)],
      [
        'empties lists',
        each(arrays, (array) => {
          array.length = 0
        }),
      ],
      ['calls again', this.#pick(this.#world.reentries)],
    ])
    let times = 0
    return named(name, () => {
      if (times++ < 50) act()
    })
  }
}

/** The promise, whose rejection is no unhandled one. */
function handled(promise) {
  promise.catch(() => {})
  return promise
}
