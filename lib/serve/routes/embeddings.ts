/** `POST /v1/embeddings`: pooled states of texts. */
import { z } from 'zod'
import { anyText, wholeFrom } from '../../common/arguments.js'
import { embedded } from '../../objectives/pooling.js'
import { readBody } from '../body.js'
import { parseFields, wordField, wrongField } from '../fields.js'
import { idsOf, promptsField, promptsOf, requireRoom } from '../prompts.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfEmbeddings } from '../unsupported.js'

const EmbeddingBody = z.looseObject({
  model: anyText.optional(),
  input: promptsField,
  encoding_format: wordField(['float', 'base64']).default('float'),
  dimensions: wholeFrom(1).optional(),
})

export async function embeddings(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfEmbeddings)
  const body = parseFields(EmbeddingBody, given)
  const { model } = serving
  const inputs = promptsOf(body.input, 'input', model)
  for (const input of inputs) requireRoom([input], 'input', model)
  const active = await serving.requests.admit(body.model, inputs.length, request)
  try {
    const { adapters } = active.used
    const texts = await Promise.all(inputs.map((input) => idsOf(input, model, active.signal)))
    for (const ids of texts) {
      if (ids.length === 0) throw wrongField('input', 'Expected some text for input but received none.')
      requireRoom([ids], 'input', model)
    }
    const view = model.withAdapters(adapters)
    const states: Float32Array[] = []
    for (const ids of texts) {
      active.signal.throwIfAborted()
      states.push(...(await embedded(view, [{ ids }])))
      active.begin()
    }
    const width = states[0]!.length
    if (body.dimensions !== undefined && body.dimensions !== width) {
      throw wrongField('dimensions', `The model's embeddings have ${width} dimensions; leave out dimensions.`)
    }
    const encoded = (values: Float32Array) => (body.encoding_format === 'base64' ? base64(values) : [...values])
    const tokens = texts.reduce((sum, ids) => sum + ids.length, 0)
    serving.metrics.promptTokens += tokens
    return Response.json({
      object: 'list',
      model: active.used.model,
      data: states.map((values, index) => ({ object: 'embedding', index, embedding: encoded(values) })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    })
  } finally {
    active.end()
  }
}

/** Little-endian float32, as every machine stores it that this package runs on. */
function base64({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64')
}
