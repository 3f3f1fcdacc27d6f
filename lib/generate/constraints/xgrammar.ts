/** Loads XGrammar (compiled to WebAssembly). */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'

/** A grammar that was parsed. */
export interface ParsedGrammar {
  dispose(): void
}

/** A grammar with the masks of a vocabulary. */
export interface CompiledGrammar {
  dispose(): void
}

/** Follows a grammar token by token. */
export interface GrammarMatcher {
  acceptToken(id: number): boolean
  getNextTokenBitmask(): Promise<Int32Array>
  isTerminated(): boolean
  reset(): void
  dispose(): void
}

interface GrammarCompiler {
  compileGrammar(grammar: ParsedGrammar): Promise<CompiledGrammar>
}

/** The part of the package that is used. */
export interface XGrammar {
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

/**
 * Makes an instance with memory of its own. The package is one file for browsers, which Node.js can import neither as the ES module
 * that its package.json declares nor by `require`; so it runs here as the CommonJS module that it is, without Node's globals.
 * @param said gets what the library writes to the console
 */
export function loadXGrammar(said: (line: string) => void): XGrammar {
  const file = createRequire(import.meta.url).resolve('@mlc-ai/web-xgrammar')
  const run = compileFunction(readFileSync(file, 'utf8'), ['exports', 'module', 'process', 'location', 'console'], {
    filename: file,
  })
  const module = { exports: {} }
  const console = { log: said, warn: said, error: said }
  run(module.exports, module, undefined, { href: 'file:///' }, console)
  return module.exports as XGrammar
}
