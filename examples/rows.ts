/**
 * Trains on rows of SQLite databases and of paginated APIs, which are read as steps need them. Run again, it continues.
 *
 *     node examples/rows.ts MODEL OUTPUT STEPS SOURCE…                (Node 22.18 or newer; before: npx tsx examples/rows.ts)
 *
 * A SOURCE is the file of a database with a table `faq`, or the URL of a first page.
 */
import { setTimeout } from 'node:timers/promises'
import { loadModel, mora, train } from 'node-mora'
import { z } from 'zod'

const [path = 'assets/demo-model', output = 'out/rows', steps = '20', ...sources] = process.argv.slice(2)
const Page = z.object({ rows: z.array(z.record(z.string(), z.unknown())), next: z.string().nullable() })

async function* rowsOfDatabase(file: string) {
  const { DatabaseSync } = await import('node:sqlite') // Node.js 22.13; before, better-sqlite3 has the same methods
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    // A part at a time: a statement that stays open for hours keeps others from writing.
    const part = database.prepare('SELECT id, title, body, votes FROM faq WHERE id > ? ORDER BY id LIMIT 500')
    for (let rows = part.all(0); rows.length > 0; rows = part.all(rows.at(-1)?.id ?? null)) yield* rows
  } finally {
    database.close() // also when the run needs no further row
  }
}

async function* rowsOfPages(first: string) {
  for (let url: string | null = first; url !== null; ) {
    const page: z.infer<typeof Page> = await pageAt(url)
    yield* page.rows
    url = page.next
  }
}

async function pageAt(url: string, attempts = 3): Promise<z.infer<typeof Page>> {
  const response = await fetch(url, { signal: AbortSignal.timeout(30_000) })
  if (response.ok) return Page.parse(await response.json())
  if (attempts === 1 || response.status < 500) throw new Error(`${url} answered ${response.status}.`)
  await setTimeout(1000)
  return pageAt(url, attempts - 1)
}

const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })
await model.addAdapter('faq', mora({ rank: 2 }))
const run = train(model, {
  // An object that begins anew each time can be read again: at its end, and when the run is resumed.
  data: sources.map((source) => ({
    data: { [Symbol.asyncIterator]: () => (/^https?:/.test(source) ? rowsOfPages(source) : rowsOfDatabase(source)) },
    weight: 1,
  })),
  map: ({ title, body, votes }) => ({ prompt: title, completion: body, votes }),
  filter: ({ votes }) => Number(votes) > 0,
  shuffleBuffer: 1000,
  maxTokens: 256,
  ...{ output, resume: true, saveEvery: 5, maxSteps: Number(steps) },
})
for await (const event of run) {
  if (event.type === 'step') console.log(`step ${event.step}  loss ${event.loss.toFixed(6)}`)
  if (event.type === 'notice') console.log(event.message)
}
model.dispose()
