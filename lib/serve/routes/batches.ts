/** `/v1/batches`: files of requests. */
import { z } from 'zod'
import { anyText, wholeBetween } from '../../common/arguments.js'
import { COMPLETION_WINDOW, endOfWindow, type Jobs, type RequestBatch } from '../../jobs/index.js'
import { onlyFields } from '../../schema/only-fields.js'
import { readBody } from '../body.js'
import { EXPIRY, metadataField, parseFields, patternField } from '../fields.js'
import { pageOf } from '../pages.js'
import type { ClientRoutes, JobAsked } from '../serving.js'

export const BATCH_ROUTES: ClientRoutes = {
  '/v1/batches': { GET: list, POST: create },
  '/v1/batches/:id': { GET: async (_, { batches }, { id, owner }) => answer(batches.get(id, owner)) },
  '/v1/batches/:id/cancel': {
    POST: async (_, { batches }, { id, owner }) => answer(await batches.cancel(id, owner)),
  },
}

const BatchBody = onlyFields({
  input_file_id: anyText,
  endpoint: anyText,
  completion_window: patternField(COMPLETION_WINDOW, '24h, or days from 1d to 14d'),
  metadata: metadataField.optional(),
  output_expires_after: onlyFields({
    anchor: z.literal('created_at', { error: 'created_at' }),
    seconds: wholeBetween(EXPIRY.least, EXPIRY.most),
  }).optional(),
})

async function create(request: Request, { batches }: Jobs, { owner, maxBodyBytes }: JobAsked): Promise<Response> {
  const body = parseFields(BatchBody, await readBody(request, maxBodyBytes))
  const { input_file_id: input, endpoint, metadata = null, output_expires_after: expires } = body
  const { completion_window: window } = body
  return answer(await batches.create({ input, endpoint, metadata, expiry: expires?.seconds ?? null, window }, owner))
}

async function list(request: Request, { batches }: Jobs, { owner }: JobAsked): Promise<Response> {
  return Response.json(pageOf(batches.list(owner).map(batchObject), request.url, { usual: 20, most: 100 }))
}

const answer = (batch: RequestBatch): Response => Response.json(batchObject(batch))

/** A batch as OpenAI describes it. */
function batchObject({ times, problems, ...batch }: RequestBatch) {
  const at = (state: keyof typeof times) => (times[state] === undefined ? null : Math.floor(times[state] / 1000))
  return {
    id: batch.id,
    object: 'batch',
    endpoint: batch.endpoint,
    errors:
      problems.length === 0 ? null : { object: 'list', data: problems.map((problem) => ({ ...problem, param: null })) },
    input_file_id: batch.input,
    completion_window: batch.window,
    status: batch.state,
    output_file_id: batch.output,
    error_file_id: batch.errors,
    created_at: Math.floor(batch.createdAt / 1000),
    in_progress_at: at('in_progress'),
    expires_at: Math.floor(endOfWindow(batch) / 1000),
    finalizing_at: at('finalizing'),
    completed_at: at('completed'),
    failed_at: at('failed'),
    expired_at: at('expired'),
    cancelling_at: at('cancelling'),
    cancelled_at: at('cancelled'),
    request_counts: batch.counts,
    metadata: batch.metadata,
  }
}
