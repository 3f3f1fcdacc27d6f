/**
 * The thread in which grammars are compiled and texts followed, since the library may take any time and memory for either, and is
 * unusable after a failure. It does its tasks in order.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { MoraError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { threadId } from '../../system/processes.js'
import { BYTE_LETTERS } from '../../text/tokenizer/token-bytes.js'
import { grammarSize, MOST_OF_SMALL } from './grammar-size.js'
import { notCompiled } from './limits.js'
import { type ConstraintSource, grammarOf } from './source.js'

/** A parsed grammar. */
interface ParsedGrammar {
  dispose(): void
}

/** A grammar compiled for a vocabulary. */
interface CompiledGrammar {
  dispose(): void
}

/** Follows a grammar token by token. */
interface GrammarMatcher {
  acceptToken(id: number): boolean
  getNextTokenBitmask(): Promise<Int32Array>
  reset(): void
  dispose(): void
}

interface GrammarCompiler {
  compileGrammar(grammar: ParsedGrammar): Promise<CompiledGrammar>
}

/** The part of XGrammar (compiled to WebAssembly) that is used. */
interface XGrammar {
  readonly Grammar: { fromEBNF(source: string): Promise<ParsedGrammar> }
  readonly TokenizerInfo: {
    createTokenizerInfo(
      vocabulary: readonly string[],
      kind: 'byte_level',
      addsSpace: boolean,
      vocabularySize: number,
      stopIds: readonly number[],
    ): Promise<object>
  }
  readonly GrammarCompiler: { createGrammarCompiler(tokenizer: object, cached: boolean): Promise<GrammarCompiler> }
  readonly GrammarMatcher: { createGrammarMatcher(grammar: CompiledGrammar): Promise<GrammarMatcher> }
}

/** The tokens of a tokenizer: their bytes, one after the other, and where each ends. */
export interface Vocabulary {
  /** Names it in tasks. */
  readonly number: number
  readonly bytes: Uint8Array
  readonly ends: Int32Array
  /** V. */
  readonly size: number
  readonly eosIds: readonly number[]
}

/** A task of the thread. Vocabularies, grammars and texts are named by numbers. */
export type ThreadTask =
  | { task: 'write'; source: ConstraintSource; mebibytes: number }
  | {
      task: 'compile'
      vocabulary: number
      /** Sent with the first task of a vocabulary. */
      tokens?: Vocabulary
      grammar: number
      source: ConstraintSource
      /** The grammar of the source, if it is known. */
      written?: string | undefined
      mebibytes: number
    }
  | { task: 'forget'; grammar: number }
  | { task: 'open'; grammar: number; text: number }
  | { task: 'accept'; text: number; id: number }
  | { task: 'reset'; text: number }
  | { task: 'close'; text: number }

type TaskOf<Name extends ThreadTask['task']> = Extract<ThreadTask, { task: Name }>

/** The grammar of a constraint, not yet compiled. */
export interface Written {
  /** The grammar in EBNF. */
  readonly grammar: string
  /** Estimated work of compiling it. */
  readonly size: number
}

/**
 * The answer to a task: a grammar, milliseconds of a compilation, or a mask. `isSpent`: the thread must not be used for other grammars.
 */
export type Answer =
  | { value: Written | number | Int32Array | undefined }
  | { error: { code: string; message: string }; isSpent: boolean }

/** A count of begun tasks, by which the thread's owner sees whether the thread is stuck, and the thread's id. */
const begun = workerData as Int32Array
Atomics.store(begun, 1, threadId() ?? 0)
const port = parentPort as MessagePort
/** Lines that the library has printed. */
const printed: string[] = []
let loaded: XGrammar | undefined
/** Returns the library, loaded on demand: translating constraints does not need it. */
const library = (): XGrammar => {
  loaded ??= loadXGrammar((line) => printed.push(line))
  return loaded
}
const compilers = new Map<number, { compiler: Awaited<ReturnType<typeof compilerOf>>; size: number }>()
const grammars = new Map<number, { compiled: CompiledGrammar; size: number }>()
const texts = new Map<number, { matcher: GrammarMatcher; size: number }>()

const PAGE = 2 ** 16
/** The memory of the library, whose type Node.js does not declare. */
interface Memory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}
declare const WebAssembly: { readonly Memory: { readonly prototype: Memory } }
let memory: Memory | undefined
let mostPages = Number.POSITIVE_INFINITY
let isRefused = false
const { grow } = WebAssembly.Memory.prototype
WebAssembly.Memory.prototype.grow = function (this: Memory, pages: number) {
  memory = this
  isRefused = this.buffer.byteLength / PAGE + pages > mostPages
  if (isRefused) throw new RangeError('The constraint takes too much memory.')
  return grow.call(this, pages)
}

async function compilerOf({ bytes, ends, size, eosIds }: Vocabulary) {
  // The library takes bytes in this form only.
  const tokens = Array.from(ends, (end, id) =>
    Array.from(bytes.subarray(id === 0 ? 0 : ends[id - 1], end), (byte) => BYTE_LETTERS[byte]).join(''),
  )
  const info = await library().TokenizerInfo.createTokenizerInfo(tokens, 'byte_level', false, size, eosIds)
  return library().GrammarCompiler.createGrammarCompiler(info, false)
}

async function compiled(task: TaskOf<'compile'>): Promise<Answer> {
  const { vocabulary, tokens, grammar: number, source, written } = task
  if (tokens) compilers.set(vocabulary, { compiler: await compilerOf(tokens), size: tokens.size })
  const { compiler, size } = compilers.get(vocabulary)!
  // The time limit holds for the grammar alone.
  Atomics.add(begun, 0, 1)
  const began = performance.now()
  return withGrammar(task, written ?? grammarOf(source), async (grammar) => {
    grammars.set(number, { compiled: await compiler.compileGrammar(grammar), size })
    return performance.now() - began
  })
}

async function written(task: TaskOf<'write'>): Promise<Answer> {
  const grammar = grammarOf(task.source)
  const value = { grammar, size: grammarSize(grammar) }
  // A translated grammar is well-formed.
  const isGiven = 'grammar' in task.source && value.size <= MOST_OF_SMALL
  return isGiven ? withGrammar(task, grammar, async () => value) : { value }
}

/** Parses a grammar and uses it, within a limit of memory. */
async function withGrammar(
  { source, mebibytes }: { source: ConstraintSource; mebibytes: number },
  text: string,
  use: (grammar: ParsedGrammar) => Promise<Written | number>,
): Promise<Answer> {
  printed.length = 0
  mostPages = pages() + (mebibytes * 2 ** 20) / PAGE
  let grammar: ParsedGrammar | undefined
  try {
    grammar = await library().Grammar.fromEBNF(text)
    const value = await use(grammar)
    grammar.dispose()
    return { value }
  } catch (cause) {
    return { error: compileError(source, cause, grammar !== undefined, mebibytes), isSpent: true }
  } finally {
    mostPages = Number.POSITIVE_INFINITY
  }
}

/** Returns the size of the library's memory. */
const pages = (): number => (memory ? memory.buffer.byteLength / PAGE : FIRST_PAGES)

/** The library begins with 16 MiB. */
const FIRST_PAGES = 256

function compileError(source: ConstraintSource, cause: unknown, isParsed: boolean, mebibytes: number) {
  const problem = printed.map((line) => /^\[FATAL\] \S+ (?:EBNF \w+ error )?(.*?)\.?$/m.exec(line)?.[1]).find(Boolean)
  if ('grammar' in source && !isParsed && !isRefused && problem !== undefined)
    return refusal('malformed-grammar', `The grammar cannot be read: ${problem}.`)
  const reason = isRefused ? `it takes more memory than ${mebibytes} MiB` : (problem ?? reasonOfLibrary(cause))
  return refusal('unsupported-constraint', notCompiled(reason))
}

const refusal = (code: string, message: string) => ({ code, message })

const FAILED = 'the library failed'

/** Returns why the library failed, without the words of WebAssembly, which say nothing about the constraint. */
function reasonOfLibrary(cause: unknown): string {
  const reason = reasonOf(cause, FAILED)
  return (cause as Error).name === 'RuntimeError' || reason.startsWith('Aborted') ? FAILED : reason
}

/** Changes a text, and returns the mask of its next token. */
async function masked(number: number, change: (matcher: GrammarMatcher) => void): Promise<Answer> {
  const { matcher, size } = texts.get(number)!
  change(matcher)
  const words = (await matcher.getNextTokenBitmask()).slice()
  // The library may set the bits behind the last token's.
  const used = size % 32
  if (used > 0) words[words.length - 1]! &= 2 ** used - 1
  return { value: words }
}

async function answerTo(task: ThreadTask): Promise<Answer | undefined> {
  switch (task.task) {
    case 'write':
      return written(task)
    case 'compile':
      return compiled(task)
    case 'open': {
      const { compiled, size } = grammars.get(task.grammar)!
      texts.set(task.text, { matcher: await library().GrammarMatcher.createGrammarMatcher(compiled), size })
      return masked(task.text, () => {})
    }
    case 'accept':
      return masked(task.text, (matcher) => matcher.acceptToken(task.id))
    case 'reset':
      return masked(task.text, (matcher) => matcher.reset())
    case 'close':
      texts.get(task.text)?.matcher.dispose()
      texts.delete(task.text)
      return undefined
    case 'forget':
      grammars.get(task.grammar)?.compiled.dispose()
      grammars.delete(task.grammar)
      return undefined
  }
}

async function answerSafely(task: ThreadTask): Promise<Answer | undefined> {
  try {
    return await answerTo(task)
  } catch (error) {
    if (error instanceof MoraError) return { error: { code: error.code, message: error.message }, isSpent: false }
    return { error: { code: 'unsupported-constraint', message: notCompiled(reasonOfLibrary(error)) }, isSpent: true }
  }
}

let queue = Promise.resolve()

async function answerAll(tasks: readonly ThreadTask[]): Promise<void> {
  const answers: Answer[] = []
  for (const task of tasks) {
    Atomics.add(begun, 0, 1)
    const answer = await answerSafely(task)
    if (answer) answers.push(answer)
  }
  const masks = answers.flatMap((answer) =>
    'value' in answer && answer.value instanceof Int32Array ? [answer.value.buffer as ArrayBuffer] : [],
  )
  port.postMessage(answers, masks)
}

port.on('message', (tasks: readonly ThreadTask[]) => {
  queue = queue.then(() => answerAll(tasks))
})

/**
 * Returns a new instance of XGrammar with memory of its own. The package is one file for browsers, which Node.js can import neither as the ES module
 * that its package.json declares nor by `require`; so it runs here as the CommonJS module that it is, without Node's globals.
 * @param print called with each line that the library prints
 */
function loadXGrammar(print: (line: string) => void): XGrammar {
  const file = createRequire(import.meta.url).resolve('@mlc-ai/web-xgrammar')
  const run = compileFunction(readFileSync(file, 'utf8'), ['exports', 'module', 'process', 'location', 'console'], {
    filename: file,
  })
  const module = { exports: {} }
  const console = { log: print, warn: print, error: print }
  run(module.exports, module, undefined, { href: 'file:///' }, console)
  return module.exports as XGrammar
}
