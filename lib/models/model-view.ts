import type { NativeDevice } from '../native/addon.js'
import type { Pooling } from '../nn/pooling.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { AdapterChoice } from './adaptation/adapter-options.js'
import type { AdapterSet } from './adaptation/adapter-set.js'
import type { Decoder } from './network/decoder.js'
import { ForwardPasses } from './network/forward-passes.js'
import type { ModelConfig } from './network/model-config.js'

/**
 * A model with adapters of its own choice: what `Model.withAdapters` returns. Its passes compute with them whatever is active in
 * the model, and without dropout unless `setDropout` of the view turns it on. It has no weights of its own, so nothing is to be
 * freed.
 */
export class ModelView extends ForwardPasses {
  /** The path of the model on this disk; empty for a model with random weights. */
  readonly path: string
  /** Sizes of the network, and `config.json` as it was read. */
  readonly config: ModelConfig
  /** The tokenizer beside the weights; null where there is none. */
  readonly tokenizer: Tokenizer | null
  /** Where weights and activations lie. */
  readonly device: NativeDevice
  /**
   * Rows of at least this many tokens use different rotary angles, from their first token on (LongRoPE).
   *
   * @internal
   */
  readonly longRowsFrom: number
  /** The chosen adapters. */
  readonly adapterSet: {
    /** Returns their names. */
    activeNames(): string[]
    /** Returns the provenance of an adapter. */
    provenance(name: string): {
      /** sha256 of the chat template that it was trained with. */
      readonly templateHash?: string
    }
  }
  readonly #adapters: AdapterSet
  readonly #decoder: Decoder
  readonly #factors: ReadonlyMap<string, number>

  /** @param factors the factor of each chosen adapter's contribution, by name */
  constructor(adapters: AdapterSet, decoder: Decoder, factors: ReadonlyMap<string, number>) {
    const { model } = adapters
    super(decoder, { within: (part) => adapters.during(factors, part) })
    this.path = model.path
    this.config = model.config
    this.tokenizer = model.tokenizer
    this.device = model.device
    this.longRowsFrom = model.longRowsFrom
    this.adapterSet = { activeNames: () => [...factors.keys()], provenance: (name) => adapters.provenance(name) }
    this.#adapters = adapters
    this.#decoder = decoder
    this.#factors = factors
  }

  /**
   * The view's adapters and their factors, as a text.
   *
   * @internal
   */
  get choice(): string {
    return JSON.stringify([...this.#factors])
  }

  /**
   * The factors of its adapters by name, if rows of a pass can have them beside rows with others; else null.
   *
   * @internal
   */
  get rowFactors(): ReadonlyMap<string, number> | null {
    return this.#adapters.areOfRows(this.#factors.keys()) ? this.#factors : null
  }

  /** Names of the labels that its head scores; null without such a head. */
  get labels(): readonly string[] | null {
    return this.#adapters.model.base.labels
  }

  /** Why embeddings cannot be computed as the model's files say; null: they can. */
  get unsupportedPooling(): string | null {
    return this.#adapters.model.unsupportedPooling
  }

  /** Pooling of hidden states to the embedding of a text: of its adapters, else of the model; null if it is unknown. */
  get pooling(): Pooling | null {
    const [ofAdapter] = [...this.#factors.keys()].flatMap((name) => this.#adapters.provenance(name).pooling ?? [])
    return ofAdapter ?? this.#adapters.model.pooling
  }

  /** Returns a view of the same model with these adapters, by default with the adapters of this view. */
  withAdapters(adapters?: AdapterChoice): ModelView {
    const factors = adapters === undefined ? this.#factors : this.#adapters.chosen(adapters)
    return new ModelView(this.#adapters, this.#decoder, factors)
  }
}
