/** Deterministic automata of regular languages, within limits of work. */
import {
  type Combination,
  Impossible,
  Inexpressible,
  type Language,
  type Machine,
  type MachineState,
  type Range,
} from './language.js'

/** Maximum number of states of an automaton. Compiling takes some milliseconds for each. */
const MOST_STATES = 2000
/** Maximum number of states and edges that a language has, before they are determined. */
const MOST_PARTS = 50_000
/** Maximum number of visited states and ranges for all languages of a constraint: some tenths of a second. */
const MOST_WORK = 2 ** 20

export const tooLarge = () => new Inexpressible('the length of a text or the size of a regular expression')

/** Counts the work for the automata of a constraint. */
export class AutomatonWork {
  /** Automata of intersections and differences, which may be parts of several languages. */
  readonly combined = new WeakMap<Language, Machine>()
  #work = 0

  /** @throws Inexpressible if it is too much */
  add(work: number): void {
    this.#work += work
    if (this.#work > MOST_WORK) throw tooLarge()
  }
}

/**
 * Returns the deterministic automaton of a language, from each of whose states an end can be reached.
 * @throws Inexpressible for a language that takes too much work; Impossible for one without texts
 */
export function machineOf(language: Language, work: AutomatonWork): Machine {
  if ('states' in language) return language
  if ('all' in language) {
    const machine = work.combined.get(language) ?? combined(language, work)
    work.combined.set(language, machine)
    return machine
  }
  if (partsOf(language) > MOST_PARTS) throw tooLarge()
  const automaton = new Automaton(work)
  const first = automaton.state()
  const end = automaton.add(language, first)
  work.add(automaton.edges.length)
  const sets = new Numbered<readonly number[]>((set) => set.join())
  const states: MachineState[] = []
  sets.at(automaton.closure([first], end))
  for (const set of sets.all) {
    if (states.length >= MOST_STATES) throw tooLarge()
    const edges = set.flatMap((state) => automaton.edges[state]!)
    work.add(edges.length * new Set(edges.map(([[from]]) => from)).size)
    const next = segments(edges).map(([range, targets]): [Range, number] => {
      const closure = automaton.closure(targets, end)
      work.add(closure.length)
      return [range, sets.at(closure)]
    })
    states.push({ edges: joined(next), isEnd: set.includes(end) })
  }
  return trimmed(states)
}

/** Numbers things in the order in which they come. */
class Numbered<Thing> {
  readonly all: Thing[] = []
  readonly #indices = new Map<string, number>()

  constructor(readonly keyOf: (thing: Thing) => string) {}

  at(thing: Thing): number {
    const key = this.keyOf(thing)
    const known = this.#indices.get(key)
    if (known !== undefined) return known
    this.#indices.set(key, this.all.length)
    return this.all.push(thing) - 1
  }
}

function combined({ all, none = [] }: Combination, work: AutomatonWork): Machine {
  const [first, ...others] = all.map((one) => machineOf(one, work))
  const inAll = others.reduce((both, one) => product(both, one, true, work), first!)
  return none.reduce<Machine>((left, one) => {
    const machine = machineUnlessImpossible(one, work)
    return machine ? product(left, machine, false, work) : left
  }, inAll)
}

function machineUnlessImpossible(language: Language, work: AutomatonWork): Machine | undefined {
  try {
    return machineOf(language, work)
  } catch (error) {
    if (error instanceof Impossible) return undefined
    throw error
  }
}

/** Returns the automaton of the texts of one automaton that another one accepts (`isInBoth`) or does not accept. */
function product(one: Machine, other: Machine, isInBoth: boolean, work: AutomatonWork): Machine {
  const pairs = new Numbered<readonly [number, number | undefined]>((pair) => pair.join())
  const states: MachineState[] = []
  pairs.at([0, 0])
  for (const [at, beside] of pairs.all) {
    if (states.length >= 4 * MOST_STATES) throw tooLarge()
    const [mine, others] = [one.states[at]!, beside === undefined ? undefined : other.states[beside]!]
    // Targets of the second automaton are told from those of the first by their sign.
    const edges = [...mine.edges, ...(others?.edges ?? []).map(([range, target]) => [range, -1 - target] as const)]
    work.add(edges.length)
    const next = segments(edges).flatMap(([range, targets]): [Range, number][] => {
      const target = targets.find((state) => state >= 0)
      const second = targets.find((state) => state < 0)
      if (target === undefined || (isInBoth && second === undefined)) return []
      return [[range, pairs.at([target, second === undefined ? undefined : -1 - second])]]
    })
    states.push({ edges: joined(next), isEnd: mine.isEnd && (others?.isEnd ?? false) === isInBoth })
  }
  return trimmed(states)
}

/** Returns an automaton without the states from which no end can be reached. @throws Impossible if the first one is one of them */
function trimmed(states: readonly MachineState[]): Machine {
  const before = states.map((): number[] => [])
  for (const [at, { edges }] of states.entries()) for (const [, target] of edges) before[target]!.push(at)
  const live = new Set(states.flatMap(({ isEnd }, at) => (isEnd ? at : [])))
  for (const state of live) for (const one of before[state]!) live.add(one)
  if (!live.has(0)) throw new Impossible('a condition that no text fits')
  const indices = new Map([...live].sort((a, b) => a - b).map((state, i) => [state, i]))
  const kept = states.filter((_, at) => live.has(at))
  if (kept.length > MOST_STATES) throw tooLarge()
  const edgesOf = ({ edges }: MachineState) =>
    edges.flatMap(([range, target]): [Range, number][] => (live.has(target) ? [[range, indices.get(target)!]] : []))
  return { states: kept.map((state) => ({ edges: edgesOf(state), isEnd: state.isEnd })) }
}

/** Returns the number of states of a language's automaton, at least, and of its edges. */
function partsOf(language: Language): number {
  if ('bytes' in language) return 1 + language.bytes.length
  if ('states' in language) return language.states.reduce((sum, { edges }) => sum + 1 + edges.length, 0)
  if ('all' in language) return 1
  if ('part' in language) {
    const { part, least, most } = language
    return 1 + partsOf(part) * (most === Number.POSITIVE_INFINITY ? least + 1 : most)
  }
  return ('row' in language ? language.row : language.any).reduce((sum, part) => sum + partsOf(part), 1)
}

/** A nondeterministic automaton. */
class Automaton {
  readonly edges: [Range, number][][] = []
  readonly jumps: number[][] = []
  readonly #work: AutomatonWork

  constructor(work: AutomatonWork) {
    this.#work = work
  }

  state(): number {
    this.jumps.push([])
    return this.edges.push([]) - 1
  }

  /** Adds a language that begins at a state, and returns the state where it ends. */
  add(language: Language, start: number): number {
    if ('row' in language) return language.row.reduce((at, part) => this.add(part, at), start)
    const end = this.state()
    if ('bytes' in language) this.edges[start]!.push(...language.bytes.map((range): [Range, number] => [range, end]))
    else if ('any' in language) for (const part of language.any) this.jumps[this.#within(part, start)]!.push(end)
    else if ('all' in language || 'states' in language) this.#addMachine(language, start, end)
    else {
      const { part, least, most } = language
      let at = start
      for (let i = 0; i < least; i++) at = this.add(part, at)
      if (most === Number.POSITIVE_INFINITY) {
        this.jumps[at]!.push(end)
        this.jumps[this.#within(part, end)]!.push(end)
        return end
      }
      for (let i = least; i < most; i++) {
        this.jumps[at]!.push(end)
        at = this.add(part, at)
      }
      this.jumps[at]!.push(end)
    }
    return end
  }

  #addMachine(language: Language, start: number, end: number): void {
    const machine = machineUnlessImpossible(language, this.#work)
    if (!machine) return
    this.#work.add(machine.states.length)
    const own = machine.states.map(() => this.state())
    this.jumps[start]!.push(own[0]!)
    for (const [i, { edges, isEnd }] of machine.states.entries()) {
      this.edges[own[i]!]!.push(...edges.map(([range, target]): [Range, number] => [range, own[target]!]))
      if (isEnd) this.jumps[own[i]!]!.push(end)
    }
  }

  #within(part: Language, from: number): number {
    const start = this.state()
    this.jumps[from]!.push(start)
    return this.add(part, start)
  }

  /** Returns the states with edges, and the end, that can be reached without a byte, in order. */
  closure(states: readonly number[], end: number): number[] {
    const reached = new Set(states)
    for (const state of reached) for (const next of this.jumps[state]!) reached.add(next)
    this.#work.add(reached.size)
    return [...reached].filter((state) => state === end || this.edges[state]!.length > 0).sort((a, b) => a - b)
  }
}

/** Splits ranges so that none overlap, each with all states to which it leads. */
function segments(edges: readonly (readonly [Range, number])[]): [Range, number[]][] {
  const starts = [...new Set(edges.flatMap(([[from, to]]) => [from, to + 1]))].sort((a, b) => a - b)
  return starts.flatMap((from, i): [Range, number[]][] => {
    const targets = edges.filter(([[first, last]]) => first <= from && from <= last).map(([, target]) => target)
    return targets.length === 0 ? [] : [[[from, starts[i + 1]! - 1], [...new Set(targets)]]]
  })
}

/** Joins neighbouring ranges that lead to the same state. */
function joined(edges: readonly [Range, number][]): [Range, number][] {
  const joint: [Range, number][] = []
  for (const [[from, to], target] of edges) {
    const last = joint.at(-1)
    if (last?.[1] === target && last[0][1] + 1 === from) joint[joint.length - 1] = [[last[0][0], to], target]
    else joint.push([[from, to], target])
  }
  return joint
}
