/** Limits of the work for a constraint. A grammar within them may be used for any number of texts. */
export const limits = {
  /** Processor time of one task in a thread [s]: a compilation, or a mask. Ordinary schemas compile in 0.1 s, long bounded texts in seconds. */
  seconds: 10,
  /** Additional memory of the library for a compilation [MiB]. */
  mebibytes: 128,
  /** Characters of a schema, a grammar, or all choices. */
  characters: 2 ** 20,
  /** Characters of a regular expression. */
  regexCharacters: 2 ** 16,
  /** Depth of parentheses in a grammar: the library's stack overflows from about 180 on. */
  parentheses: 128,
}

/** Memory of JavaScript in a thread [MiB]. */
export const HEAP_MEBIBYTES = 128

/** Returns the message for a constraint whose grammar cannot be compiled. */
export const notCompiled = (reason: string): string => `The constraint cannot be compiled: ${reason}; make it smaller.`
