/**
 * An Express app with an endpoint of OpenAI's API: a model under its own name, and the adapter of a run as the model "support".
 *
 *   node examples/endpoint.ts SmolLM2-135M-Instruct.Q4_1.gguf out 3000
 */
import { getRequestListener } from '@hono/node-server'
import express from 'express'
import { loadModel, serve } from 'node-mora'

const [path = 'assets/demo-model', run = 'out', port = '3000'] = process.argv.slice(2)
const model = await loadModel(path)
const llm = serve(model, { name: 'base', apiKeys: [process.env.LLM_KEY ?? 'sk-local'] })
await llm.loadAdapter('support', run)

const app = express()
app.get('/', (_, response) => {
  response.send('The app itself.')
})
// Before any middleware that reads bodies.
app.use('/llm', getRequestListener(llm.fetch, { overrideGlobalObjects: false }))
app.post('/newest', async (_, response) => {
  await llm.loadAdapter('support', run, { replace: true }) // the run's newest checkpoint; running answers keep the former one
  response.sendStatus(204)
})

const server = app.listen(Number(port), '127.0.0.1', () => console.log(server.address()))
process.once('SIGTERM', async () => {
  await llm.close() // running answers are written to their end
  server.close()
  model.dispose()
})
