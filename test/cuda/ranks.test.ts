/**
 * Ranks with a GPU each, connected by NCCL: on the emulator, in processes of their own, by the stand-in of NCCL
 * (test/simt/stubs/nccl.cpp).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { loadModel } from '../../lib/models/index.js'
import { binaryCandidates } from '../../lib/native/binary.js'
import { drawn, drawnTests } from '../drawn.js'
import { main, start, trainInto } from '../faults/command.js'
import { readTensors } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lack, lacksEmulation, needing } from '../needs.js'
import { deepModel } from '../ranks/deep-model.js'
import { byHand, lacksLauncher, runJob } from '../ranks/launchers.js'

const folder = useTemporaryFolder()
const job = join(import.meta.dirname, 'rank.mjs')
const standIn = join(dirname(binaryCandidates().find(existsSync) ?? ''), 'stub_nccl')
const launcher = byHand('gloo', '127.0.0.1')

/** Ranks with these variables, and the stand-in of NCCL unless they say otherwise. */
const run = (size: number, argv: readonly string[], variables: Record<string, string> = {}) =>
  runJob(launcher, size, argv, { MORA_NCCL: standIn, ...variables })

const seen = () =>
  readdirSync(folder())
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(folder(), name), 'utf8')))

needing(lacksEmulation, lacksLauncher(launcher), lack('the stand-in of NCCL', existsSync(standIn))).describe(
  'ranks with a GPU each',
  () => {
    const next = drawnTests('ranks with a GPU each', 11, 4)
    const orders: [number, string][] = [
      [2, '1'],
      [2, '7'],
      [3, '0'],
    ]
    next().test.each(drawn('orders of sums', orders, 1))(
      '%i of them add up on their GPUs, with streams in the order of seed %s',
      async (size, seed) => {
        const ending = await run(size, [job, folder(), 'sums'], {
          MORA_SIMT_SEED: seed,
          MORA_SIMT_DEVICES: String(size),
        })
        expect(ending).toMatchObject({ code: 0, stderr: '' })
        const all = seen()
        expect(all.map(({ device }) => device)).toEqual(Array.from({ length: size }, (_, rank) => `cuda:${rank}`))
        for (const { farthest } of all) expect(farthest).toBeLessThanOrEqual(size * 2 ** -23)
        expect(new Set(all.map(({ hash }) => hash)).size).toBe(1)
      },
    )

    const bases: [string, string[]][] = [
      ['floats', []],
      ['what they quantise', ['--quantise', 'nf4']],
    ]
    next().test.each(drawn('bases of ranks', bases, 1))(
      'two of them train on %s as one process does',
      async (_, more) => {
        const [alone, together] = [join(folder(), 'alone'), join(folder(), 'together')]
        const [ofOne, ofMany] = [alone, together].map((output) =>
          trainInto(output, '--device', 'cuda', '--dtype', 'float32', '--quiet', '--micro-batch-size', '1', ...more),
        )
        expect(await start(ofOne!).ended).toMatchObject({ code: 0, stderr: '' })
        expect(await run(2, [main, ...ofMany!])).toMatchObject({ code: 0, stderr: '' })
        const [one, many] = [lossesOf(alone), lossesOf(together)]
        expect(many.length).toBe(8)
        for (const [i, loss] of many.entries()) expect(Math.abs(loss / one[i]! - 1)).toBeLessThan(1e-6)
        expect(farthestOf(alone, together)).toBeLessThan(1e-6)
      },
    )

    const held: [number, string, 'float32' | 'q8_0'][] = [
      [2, '7', 'float32'],
      [3, '1', 'q8_0'],
    ]
    next().test.each(drawn('bases that ranks hold together', held, 1))(
      '%i of them hold a base together, with streams in the order of seed %s, kept as %s',
      async (size, seed, dtype) => {
        const deep = await deepModel(folder(), size)
        const path = dtype === 'float32' ? deep.path : join(folder(), 'deep.gguf')
        if (path !== deep.path) {
          using model = await loadModel(deep.path, { device: 'cuda', dtype: 'float32' })
          await model.save(path, { dtype })
        }
        const variables = { MORA_SIMT_SEED: seed, MORA_SIMT_DEVICES: String(size) }
        const [whole, together] = [[], []] as Seen[][]
        for (const [what, all] of [
          ['whole', whole!],
          ['together', together!],
        ] as const) {
          expect(await run(size, [job, folder(), what, path, deep.rows], variables)).toMatchObject({
            code: 0,
            stderr: '',
          })
          all.push(...seen())
        }
        const [{ losses, hash, loaded }] = whole as [Seen]
        expect(losses).toHaveLength(3)
        // Of the matrices; vectors are whole, and each part of a block has up to 64 more bytes for each rank.
        const most = dtype === 'float32' ? deep.most : 0.6 * loaded
        for (const [rank, one] of together!.entries()) {
          expect(one).toMatchObject({ losses, hash, left: 0 })
          expect(one.loaded).toBeLessThanOrEqual(most)
          expect(one.peakOfLoading).toBeLessThanOrEqual(most + 4 * 64)
          expect(one.peak).toBeLessThanOrEqual(whole![rank]!.peak - (loaded - one.loaded))
        }
      },
    )

    next().test.each(drawn('ends with a part', ['goneTogether', 'killedTogether'], 1))(
      'one that holds a part of a base ends all ranks when it is %s',
      async (what) => {
        const deep = await deepModel(folder(), 2)
        const { code } = await run(2, [job, folder(), what, deep.path, deep.rows])
        expect(code).not.toBe(0)
        const message =
          what === 'goneTogether' ? 'it ended with exit code 3.' : 'it has ended or has lost its connection.'
        expect(seen()[0]).toEqual({ code: 'rank-failed', message: `Rank 1 failed: ${message}` })
      },
    )

    next().test('without NCCL they hold no base together', async () => {
      const deep = await deepModel(folder(), 2)
      const { code } = await run(2, [job, folder(), 'refusedTogether', deep.path, deep.rows], { MORA_NCCL: folder() })
      expect(code).not.toBe(0)
      const message =
        /^Ranks hold weights together on GPUs that NCCL connects, but rank 0 has none: NCCL .* MORA_NCCL\.$/
      for (const one of seen()) expect(one).toEqual({ code: 'no-nccl', message: expect.stringMatching(message) })
    })

    next().test('without NCCL they add up over the CPUs, and one of them says so', async () => {
      const { code, stderr } = await run(2, [job, folder(), 'sums'], { MORA_NCCL: join(folder(), 'nowhere') })
      expect(code, stderr).toBe(0)
      const { all, hashes } = { all: seen(), hashes: new Set(seen().map(({ hash }) => hash)) }
      expect([all.length, hashes.size]).toEqual([2, 1])
      expect(stderr.match(/\[nccl-unused\].*/g)).toEqual([
        expect.stringMatching(
          /Without NCCL, .*: rank 0 has none: NCCL \(libnccl\.so\.2\) was not found in .*; install it .*MORA_NCCL\.$/,
        ),
      ])
    })

    next().test('an NCCL that is too old is not used', async () => {
      const { code, stderr } = await run(2, [job, folder(), 'sums'], { STUB_NCCL_VERSION: '21602' })
      expect(code, stderr).toBe(0)
      expect(stderr).toMatch(/libnccl\.so\.2 is NCCL 2\.16\.2, and 2\.18 or newer is needed; install/)
    })

    next().test('one GPU for two of them is refused, in one sentence', async () => {
      const argv = [main, ...trainInto(join(folder(), 'out'), '--device', 'cuda')]
      const { code, stderr } = await run(2, argv, { MORA_SIMT_DEVICES: '1' })
      expect(code).toBe(2)
      expect(stderr.trim().split('\n')).toEqual([
        expect.stringMatching(
          /^mora: Ranks 0 and 1 would share the GPU GPU-01010101-(0101-){3}010101010101, but each needs one of its own, and of \S+ they see 1: start no more ranks on a machine than it has GPUs, or give them the device cpu\.$/,
        ),
      ])
    })

    const endings: [string, string][] = [
      ['gone', 'Rank 1 failed: it ended with exit code 3.'],
      ['killed', 'Rank 1 failed: it has ended or has lost its connection.'],
      [
        'stopped',
        'Rank 1 failed: it has been silent for 2 s, so it was stopped, has ended or has lost its connection.',
      ],
      ['gaveUp', 'Rank 1 failed: no more rows.'],
    ]
    next().test.each(drawn('endings of a rank', endings, 1))(
      'the other rank learns of one that is %s, and its GPU stops waiting',
      async (what, message) => {
        const { code } = await run(2, [job, folder(), what])
        expect(code).not.toBe(0)
        expect(seen()[0]).toEqual({ code: 'rank-failed', message })
      },
    )

    next().test('ranks that bring different gradients are told so', async () => {
      await run(2, [job, folder(), 'differs'])
      expect(seen().map(({ code }) => code)).toEqual(['ranks-differ', 'ranks-differ'])
    })

    const answers: [string, string][] = [
      ['6@1', 'ncclAllReduce: remote process exited or there was a network error (the stand-in was told to)'],
      ['5@1', 'ncclAllReduce: invalid usage (the stand-in was told to)'],
    ]
    next().test.each(drawn('answers of NCCL', answers, 1))('an NCCL that answers %s is quoted', async (fault, told) => {
      const { code } = await run(2, [job, folder(), 'refused'], { STUB_NCCL_FAIL: fault })
      expect(code).not.toBe(0)
      const messages = seen().map(({ message }) => message)
      expect(messages).toContainEqual(expect.stringMatching(/^NCCL failed on rank \d: /))
      expect(messages.join()).toContain(told)
    })
  },
)

function lossesOf(output: string): number[] {
  const lines = readFileSync(join(output, 'metrics.jsonl'), 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line)).flatMap(({ loss }) => (loss === undefined ? [] : [loss as number]))
}

function farthestOf(...outputs: [string, string]): number {
  const [one, other] = outputs.map((output) => readTensors(join(output, 'adapter_model.safetensors')))
  let farthest = 0
  for (const [name, { values }] of one!) {
    const others = other!.get(name)!.values
    for (const [i, value] of values.entries()) farthest = Math.max(farthest, Math.abs(value - others[i]!))
  }
  return farthest
}

/** The report of a rank of rank.mjs on a run: its losses, and bytes of live tensors. */
interface Seen {
  readonly losses: readonly number[]
  readonly hash: string
  readonly loaded: number
  readonly peakOfLoading: number
  readonly peak: number
  readonly left: number
}
