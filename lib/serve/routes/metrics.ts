/** `GET /metrics`: what Prometheus collects. */
import type { Serving } from '../serving.js'

export async function showMetrics(_: Request, { metrics, engine }: Serving): Promise<Response> {
  return new Response(metrics.text(engine.usage), {
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
  })
}
