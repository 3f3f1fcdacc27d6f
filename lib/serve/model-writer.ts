/** Writes texts with a model's engine. */
import { packBatch } from '../data/packing.js'
import type { GenerateOptions, TextEngine } from '../generate/index.js'
import type { Model } from '../models/index.js'
import { GenerateSchema } from '../options/index.js'
import { mean } from '../tensor/operations/reductions.js'
import { noGrad } from '../tensor/tape.js'
import { ApiError } from './api-error.js'
import type { TextCall, TextPiece, TextUsage, TextWriter, WrittenText } from './text-writer.js'

/** Values that change nothing: such options need no support by the engine. */
const NEUTRAL: Readonly<Record<string, unknown>> = {
  minNewTokens: 0,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
}

/** Options of `generate` that the command line does not have. */
const OF_THE_LIBRARY = new Set(['messages', 'stop', 'adapters', 'signal'])

export class ModelWriter implements TextWriter {
  constructor(
    readonly model: Model,
    readonly engine: TextEngine,
  ) {}

  get usage(): TextUsage {
    return this.engine.usage
  }

  async *stream({ sample, ...call }: TextCall): AsyncGenerator<TextPiece, WrittenText> {
    const given = Object.entries(call).filter(([name, value]) => value !== undefined && value !== NEUTRAL[name])
    const unknown = given.find(([name]) => !(name in GenerateSchema.shape || OF_THE_LIBRARY.has(name)))
    if (unknown) {
      throw new ApiError(400, `The engine has no option ${unknown[0]}, which the request needs.`, {
        code: 'unsupported_parameter',
      })
    }
    // Of a chat, thoughts and calls are told apart, unless the whole answer has a schema.
    const options = {
      ...Object.fromEntries(given),
      parse: call.messages !== undefined && call.schema === undefined,
    } as GenerateOptions
    const pieces = this.engine.stream(options, sample)
    for (;;) {
      const next = await pieces.next()
      if (next.done) return next.value
      yield next.value
    }
  }

  /** Returns the mean of the hidden states after the final norm, scaled to length 1. */
  async embed(ids: readonly number[], adapters: readonly string[] = []): Promise<Float32Array> {
    const batch = packBatch([{ ids, mask: new Uint8Array(ids.length), row: 0 }])
    using output = await this.model.withAdapters(adapters).forwardAsync(batch, { gradients: false })
    using pooled = noGrad(() => mean(output.hidden, 0))
    const values = (await pooled.data()) as Float32Array
    const length = Math.hypot(...values)
    return values.map((value) => value / length)
  }

  exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.engine.exclusive(work)
  }

  close(): Promise<void> {
    return this.engine.close()
  }
}
