/** Loads and drops adapters while the server runs, as vLLM does: `POST /v1/load_lora_adapter`, `POST /v1/unload_lora_adapter`. */
import { z } from 'zod'
import { aFlag } from '../../common/arguments.js'
import { theOption } from '../../common/option-names.js'
import { ADAPTER_NAME, ADAPTER_NAME_WORDS } from '../../options/index.js'
import { ApiError } from '../api-error.js'
import { readBody } from '../body.js'
import { clientOf } from '../clients.js'
import { parseFields, patternField } from '../fields.js'
import type { Serving } from '../serving.js'

const name = patternField(ADAPTER_NAME, ADAPTER_NAME_WORDS)
// Other texts are no path, and the system's errors about them would not name them.
const source = patternField(/^[^\0]{1,4096}$/, 'the path or hub id of an adapter')

const LoadBody = z.looseObject({
  lora_name: name,
  lora_path: source,
  load_inplace: aFlag.default(false),
})

export async function loadAdapter(request: Request, serving: Serving): Promise<Response> {
  requireAllowed(serving)
  const body = parseFields(LoadBody, await readBody(request, serving.maxBodyBytes))
  await serving.adapters.load(body.lora_name, body.lora_path, { replace: body.load_inplace })
  return Response.json({ id: body.lora_name, object: 'model', loaded: true })
}

export async function unloadAdapter(request: Request, serving: Serving): Promise<Response> {
  requireAllowed(serving)
  const { lora_name: id } = parseFields(
    z.looseObject({ lora_name: name }),
    await readBody(request, serving.maxBodyBytes),
  )
  await serving.adapters.unload(id)
  return Response.json({ id, object: 'model', deleted: true })
}

/** `DELETE /v1/models/NAME`, as OpenAI drops a model. The model of a client's job is the client's to delete. */
export async function deleteModel(id: string, request: Request, serving: Serving): Promise<Response> {
  const job = serving.jobs?.jobOfModel(id)
  if (job?.owner === clientOf(request) && serving.adapters.has(id)) await serving.jobs!.deleteModel(job, id)
  else {
    requireAllowed(serving)
    await serving.adapters.unload(id)
  }
  return Response.json({ id, object: 'model', deleted: true })
}

function requireAllowed({ allowLoading }: Serving): void {
  if (allowLoading) return
  throw new ApiError(403, `Clients may not load or drop adapters here, unless ${theOption('allowLoading')} is set.`, {
    code: 'loading_not_allowed',
  })
}
