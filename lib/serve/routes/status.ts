/** Routes that describe the server: `GET /health`, `/version`, `/props`, `/metrics`, `/v1/models` and `/v1/models/NAME`. */
import { packageVersion } from '../../common/package-info.js'
import { promptTemplate } from '../../generate/index.js'
import { serverEnds } from '../active-requests.js'
import { clientOf } from '../clients.js'
import type { Serving } from '../serving.js'

/** Whether the server takes requests. */
export async function health(_: Request, { requests }: Serving): Promise<Response> {
  if (requests.isClosing) throw serverEnds()
  return Response.json({ status: 'ok' })
}

/** The version of node-mora. */
export async function version(): Promise<Response> {
  return Response.json({ version: packageVersion() })
}

/** Facts of the model, as llama.cpp names them. */
export async function props(_: Request, { model, engine, adapters, template }: Serving): Promise<Response> {
  const { tokenizer, config } = model
  const textOf = (id: number | undefined | null) => (id == null ? '' : (tokenizer?.tokenOf(id) ?? ''))
  return Response.json({
    default_generation_settings: { n_ctx: config.maxPositions },
    total_slots: engine.sequences,
    model_path: adapters.baseName,
    chat_template: (tokenizer && (await promptTemplate(model, { template }))?.source) ?? '',
    bos_token: textOf(tokenizer?.bosId),
    eos_token: textOf(tokenizer?.eosId),
    modalities: { vision: false, audio: false },
    build_info: `node-mora ${packageVersion()}`,
    is_sleeping: false,
  })
}

/** Metrics for Prometheus. */
export async function showMetrics(_: Request, { metrics, engine }: Serving): Promise<Response> {
  return new Response(metrics.text(engine.usage), {
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
  })
}

/** When this process began to serve, in seconds. */
const created = Math.floor(Date.now() / 1000)

export async function listModels(request: Request, serving: Serving): Promise<Response> {
  const { baseName } = serving.adapters
  const names = serving.adapters.namesFor(clientOf(request))
  return Response.json({ object: 'list', data: [baseName, ...names].map((name) => entryOf(name, serving)) })
}

export async function oneModel(name: string, request: Request, serving: Serving): Promise<Response> {
  serving.adapters.require(name, clientOf(request))
  return Response.json(entryOf(name, serving))
}

function entryOf(id: string, { adapters, model }: Serving) {
  const entry = { id, object: 'model', created, owned_by: 'node-mora', max_model_len: model.config.maxPositions }
  return id === adapters.baseName ? entry : { ...entry, parent: adapters.baseName }
}
