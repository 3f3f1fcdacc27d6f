/** Everything that can be called: functions and classes of modules, and the classes of objects, found by reflection. */

/**
 * @typedef {object} Target
 * @property {string} name `Tensor.prototype.view`, `new Tensor`, `get Tensor.prototype.shape`, `native.fill`
 * @property {string | null} owner the class whose objects it is called on
 * @property {(receiver: unknown, given: unknown[]) => unknown} invoke
 */

/** Not ours, or without anything of ours. */
const foreign = new Set([Object, Function, Error, Function.prototype, Object.prototype, Error.prototype])

/**
 * @param {Readonly<Record<string, object>>} modules by the prefix of their names
 * @param {readonly object[]} objects whose classes count too
 * @returns {Target[]}
 */
export function targetsOf(modules, objects) {
  const targets = new Map()
  const seen = new Set(foreign)
  const add = (name, owner, invoke) => targets.set(name, { name, owner, invoke })

  const addMembers = (holder, prefix, owner) => {
    for (const key of Reflect.ownKeys(holder)) {
      if ((owner ? ['constructor'] : ['prototype', 'length', 'name']).includes(key)) continue
      const { value, get, set } = Object.getOwnPropertyDescriptor(holder, key)
      const name = `${prefix}.${String(key)}`
      const on = (body) => (receiver, given) => Reflect.apply(body, owner ? receiver : holder, given)
      if (typeof value === 'function') add(name, owner, on(value))
      if (get) add(`get ${name}`, owner, on(get))
      if (set) add(`set ${name}`, owner, on(set))
    }
  }

  const addClass = (Class, prefix = '') => {
    if (typeof Class !== 'function' || seen.has(Class)) return
    seen.add(Class)
    const name = `${prefix}${Class.name}`
    add(`new ${name}`, null, (_, given) => Reflect.construct(Class, given))
    addMembers(Class, name, null)
    addMembers(Class.prototype, `${name}.prototype`, Class.name)
    addClass(Object.getPrototypeOf(Class), prefix)
  }

  for (const [prefix, exported] of Object.entries(modules)) {
    for (const [name, value] of Object.entries(exported)) {
      if (typeof value !== 'function') continue
      const isClass = Reflect.ownKeys(value.prototype ?? {}).length > 1 || value.prototype instanceof Error
      if (isClass) addClass(value, prefix)
      else add(`${prefix}${name}`, null, (_, given) => Reflect.apply(value, undefined, given))
    }
  }
  for (const object of objects) addClass(object.constructor)
  return [...targets.values()]
}
