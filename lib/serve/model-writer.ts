/** Writes texts with a model's engine. */
import { packBatch } from '../data/packing.js'
import type { EngineUsage } from '../engine/index.js'
import type { TextEngine } from '../generate/index.js'
import type { Model } from '../models/index.js'
import { poolingOf } from '../nn/pooling.js'
import { pooledStates } from '../objectives/pooling.js'
import type { TextCall, TextPiece, TextWriter, WrittenText } from './text-writer.js'

export class ModelWriter implements TextWriter {
  constructor(
    readonly model: Model,
    readonly engine: TextEngine,
  ) {}

  get usage(): EngineUsage {
    return this.engine.usage
  }

  stream({ sample, ...call }: TextCall): AsyncGenerator<TextPiece, WrittenText> {
    // Of a chat, thoughts and calls are told apart, unless the whole answer has a schema.
    const parse = call.messages !== undefined && call.schema === undefined
    return this.engine.stream({ ...call, parse }, sample)
  }

  /** Returns the hidden states after the final norm, pooled as adapter or model say, else by their mean, and scaled to length 1. */
  async embed(ids: readonly number[], adapters: readonly string[] = []): Promise<Float32Array> {
    const batch = packBatch([{ ids, mask: new Uint8Array(ids.length), row: 0 }])
    const model = this.model.withAdapters(adapters)
    const [ofAdapter] = adapters.flatMap((name) => this.model.adapterSet.provenance(name).pooling ?? [])
    using embedding = await pooledStates(model, batch, ofAdapter ?? poolingOf(model), false)
    return (await embedding.data()) as Float32Array
  }

  exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.engine.exclusive(work)
  }

  close(): Promise<void> {
    return this.engine.close()
  }
}
