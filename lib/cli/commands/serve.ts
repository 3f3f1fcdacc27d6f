import { once } from 'node:events'
import { UsageError } from '../../common/errors.js'
import { isLoopback } from '../../common/listen.js'
import { keepSecret } from '../../common/printable.js'
import { readText } from '../../io/open.js'
import { ADAPTER_NAME, forLibrary, loadOptions, ServeSchema } from '../../options/index.js'
import { defineCommand } from '../command.js'
import { requireInputs, requirePath } from '../paths.js'
import { interruptible } from '../terminal/interrupt.js'

export const serveCommand = defineCommand({
  name: 'serve',
  summary: "serve a model and its adapters by OpenAI's API",
  schema: ServeSchema,
  idle: ['seed'],
  examples: [
    'mora serve --model model --adapter support=out',
    'mora serve --model model --host 0.0.0.0 --api-key-file keys.txt',
  ],
  check({ adapter = [], allowLoading, apiKeyFile, host, model, template }) {
    requireInputs(ServeSchema, { model, template })
    requirePath('apiKeyFile', apiKeyFile)
    for (const given of adapter) named(given)
    if (allowLoading && apiKeyFile === undefined && !isLoopback(host)) {
      throw new UsageError('unfit-options', '--allow-loading needs --api-key-file where others can connect.')
    }
  },
  async run(options, { terminal, note, log }) {
    const { adapter = [], allowOtherBase, apiKeyFile, host, port, page, jobs, json } = options
    const apiKeys = apiKeyFile === undefined ? [] : await readKeys(apiKeyFile)
    const needsKey = Object.keys(apiKeys).length > 0
    const [{ loadModelFor }, { listenServer, serve }] = await Promise.all([
      import('../../models/index.js'),
      import('../../serve/index.js'),
    ])
    const load = { ...loadOptions(options), onWarning: note }
    using model = await loadModelFor({ passes: 'one token' }, options.model!, load)
    const onError = (error: unknown) => log(error instanceof Error ? (error.stack ?? error.message) : String(error))
    const server = serve(model, {
      ...forLibrary(ServeSchema, options),
      apiKeys,
      page,
      onError,
      ...(jobs !== undefined && { jobs: { folder: jobs } }),
    })
    for (const { name, source } of adapter.map(named)) await server.loadAdapter(name, source, { allowOtherBase })
    const listening = await listenServer(server, { host, port, hasKey: needsKey, takesFiles: jobs !== undefined })
    const { origin, isPublic } = listening
    terminal.stdout.write(
      json ? `${JSON.stringify({ url: origin, port: listening.port })}\n` : `listening on ${origin}\n`,
    )
    if (isPublic && !needsKey) note(`anyone who can reach ${host} over the network can use the model`)
    const ending = new AbortController()
    await interruptible(
      () => once(ending.signal, 'abort').then(() => listening.close()),
      () => ending.abort(),
    )
    return { json: undefined, text: '' }
  },
})

function named(given: string): { name: string; source: string } {
  const [, name, source] = /^([^=]+)=(.+)$/.exec(given) ?? []
  if (name && source && ADAPTER_NAME.test(name)) return { name, source }
  throw new UsageError(
    'bad-value',
    `Expected a name and a folder or hub id, as NAME=A, for --adapter but received ${JSON.stringify(given)}.`,
  )
}

/** Matches a key, or the name of a client and a key. */
const KEY_LINE = /^(?:([\w.-]{1,64})[ \t]+)?(\S+)$/

async function readKeys(path: string): Promise<string[] | Record<string, string>> {
  const lines = (await readText(path)).split('\n').map((line) => line.trim())
  const keys = lines.filter((line) => line !== '').map((line) => KEY_LINE.exec(line))
  const refuse = (problem: string) => new UsageError('bad-value', `--api-key-file: "${path}" ${problem}.`)
  if (keys.length === 0) throw refuse('has no key; write one in a line')
  if (keys.includes(null)) throw refuse('has a line that is neither a key nor a name and a key')
  const found = keys.map((match) => ({ name: match![1], key: match![2]! }))
  for (const { key } of found) keepSecret(key)
  if (found.every(({ name }) => name === undefined)) return found.map(({ key }) => key)
  const names = found.map(({ name }) => name)
  if (names.includes(undefined)) throw refuse('has keys with and without names; give each a name, or none')
  if (new Set(names).size < names.length) throw refuse('has a name twice')
  return Object.fromEntries(found.map(({ name, key }) => [name!, key]))
}
