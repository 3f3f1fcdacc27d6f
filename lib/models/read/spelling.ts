import type { ModelConfig } from '../network/model-config.js'

/** Prefixes of names in a checkpoint's files, with the model's own prefixes. */
type Prefixes = readonly (readonly [inFile: string, inModel: string])[]

/** How the names of a checkpoint's tensors differ from the model's: it is written back under the names that it had. */
export class Spelling {
  constructor(readonly prefixes: Prefixes = []) {}

  inModel(name: string): string {
    const [from, to] = this.prefixes.find(([prefix]) => name.startsWith(prefix)) ?? ['', '']
    return to + name.slice(from.length)
  }

  inFile(name: string): string {
    const [to, from] = this.prefixes.find(([, prefix]) => name.startsWith(prefix)) ?? ['', '']
    return to + name.slice(from.length)
  }

  /** Finds the spelling of a checkpoint's names. */
  static of(names: { has(name: string): boolean }, { network, text }: ModelConfig): Spelling {
    const { basePrefix, embeddings, head } = network
    const has = (module: string) => names.has(`${module}.weight`)
    if (has(embeddings)) return new Spelling()
    const within = 'language_model.'
    if (text && has(within + text.network.embeddings)) {
      return new Spelling([
        [within + text.network.basePrefix, basePrefix],
        [within + head, head],
      ])
    }
    // Checkpoints of a network without its head lack the prefix.
    if (!has(embeddings.slice(basePrefix.length))) return new Spelling()
    return new Spelling([
      [head, head],
      ['', basePrefix],
    ])
  }
}
