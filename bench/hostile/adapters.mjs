import { join } from 'node:path'
import { loadModel, lora } from 'node-mora'
import { quantile, repeat, Server } from './server.mjs'

const STREAMS = 16

/** Streams of several clients while an adapter that nobody asks is replaced again and again. */
export async function swapAdapters({ model, folder, seconds }) {
  const adapter = join(folder, 'adapter')
  const loaded = await loadModel(model)
  await loaded.addAdapter('a', lora({ rank: 8 }), { seed: 1 })
  await loaded.saveAdapter('a', adapter)
  loaded.dispose()
  const server = await Server.start(model, ['--allow-loading', '--adapter', `a=${adapter}`])
  const rows = []
  for (const [what, isAsked] of [
    ['no swaps', false],
    ['swaps of an adapter that nobody asks', false],
    ['swaps of an adapter that half of them ask', true],
  ]) {
    const gaps = []
    let [swaps, tokens] = [0, 0]
    const streams = Array.from({ length: STREAMS }, (_, k) =>
      repeat(seconds / 2, async (i) => {
        let last = 0
        const onPiece = () => {
          tokens++
          if (last > 0) gaps.push(performance.now() - last)
          last = performance.now()
        }
        const body = {
          prompt: `Once ${k} ${i}`,
          max_tokens: 128,
          stream: true,
          ...(isAsked && k % 2 === 0 && { model: 'a' }),
        }
        await server.post('/v1/completions', body, { onPiece })
      }),
    )
    if (what !== 'no swaps')
      streams.push(
        repeat(seconds / 2, async () => {
          const { status } = await server.post('/v1/load_lora_adapter', {
            lora_name: 'a',
            lora_path: adapter,
            load_inplace: true,
          })
          if (status === 200) swaps++
          await new Promise((resolve) => setTimeout(resolve, 300))
        }),
      )
    await Promise.all(streams)
    const gap = [0.5, 0.99, 1].map((share) => quantile(gaps, share).toFixed(0)).join(', ')
    rows.push([`${what} (${swaps}), gaps: median, p99, most [ms]`, gap])
    rows.push([`${what}, pieces`, tokens])
  }
  await server.stop()
  return rows
}
