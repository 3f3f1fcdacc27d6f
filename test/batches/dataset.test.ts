import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DatasetOptions, loadDataset } from '../../lib/batches/dataset.js'
import type { TokeniseProgress } from '../../lib/batches/examples/tokenise.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { loadSmallTokenizer, templatePath } from '../text/tokenizer/small-tokenizer.js'

let folder: string
let file: string
let tokenizer: Tokenizer
const lines = [
  { prompt: 'How many boats?', completion: 'six' },
  { messages: [{ role: 'user', content: 'hi' }] },
  { input_ids: [7, 8, 9], labels: [-100, -100, 9] },
  { text: 'The river runs past the old mill.' },
]
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-dataset-'))
  file = join(folder, 'rows.jsonl')
  await writeFile(file, lines.map((row) => `${JSON.stringify(row)}\n`).join(''))
  tokenizer = await loadSmallTokenizer()
})
afterAll(() => rm(folder, { recursive: true }))

const load = (options: Partial<DatasetOptions> = {}) =>
  loadDataset(file, { tokenizer, template: templatePath('chatml'), ...options })

describe('loadDataset', () => {
  it('counts rows, tokens and targets, and leaves rows without a target out with a warning', async () => {
    const warnings: string[] = []
    const data = await load({ onWarning: (message) => warnings.push(message) })
    expect(data.length).toBe(3)
    const rows = [0, 1, 2].map((i) => data.row(i).documents[0]!)
    expect([...rows[1]!.ids]).toEqual([7, 8, 9])
    expect([...rows[1]!.mask]).toEqual([0, 0, 1])
    expect(data.summary).toMatchObject({
      rows: 3,
      tokens: rows.reduce((sum, { ids }) => sum + ids.length, 0),
      targetTokens: rows.reduce((sum, { mask }) => sum + mask.slice(1).reduce((a, b) => a + b, 0), 0),
      truncated: 0,
      withoutTarget: 1,
      dropped: 1,
    })
    expect(warnings).toEqual([expect.stringMatching(/: 1 row in which nothing is trained was left out\.$/)])
  })

  it('says which rows the template cannot render unchanged', async () => {
    const source =
      "{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    await writeFile(join(folder, 'no-tools.jinja'), source)
    const call = { type: 'function', function: { name: 'boats', arguments: {} } }
    const rows = [
      { prompt: 'How many boats?', completion: 'six' },
      {
        messages: [
          { role: 'user', content: 'How many boats?' },
          { role: 'assistant', tool_calls: [call] },
          { role: 'tool', content: 'there are six' },
          { role: 'assistant', reasoning: 'one more than five', content: 'six' },
        ],
      },
    ]
    const warnings: string[] = []
    const template = join(folder, 'no-tools.jinja')
    const data = await loadDataset(rows, { tokenizer, template, onWarning: (message) => warnings.push(message) })
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the rows given: the chat template leaves out calls of 1 of .*\(first: row 2 of the rows given\).*the option template/,
      ),
      expect.stringMatching(
        /^the rows given: the chat template leaves out reasoning, .* of 1 of the assistant's turns \(first: row 2 of the rows given\).*the option template/,
      ),
      expect.stringMatching(
        /^the rows given: the chat template leaves out the content of 1 of the assistant's turns \(first: row 2 of the rows given\), so these are not trained/,
      ),
      expect.stringMatching(
        /^the rows given: the chat template leaves out 1 message \(first: row 2 of the rows given\)/,
      ),
    ])
    const counts = { droppedCalls: 1, droppedReasoning: 1, silentTurns: 1, droppedMessages: 1 }
    expect(data.summary).toMatchObject({ ...counts, openEnds: 0, foreignOpenings: 0 })
  })

  it('warns about tools that the template ignores', async () => {
    const messages = [
      { role: 'user', content: 'How many?' },
      { role: 'assistant', content: 'six' },
    ]
    const rows = [{ messages }, { messages, tools: [] }, { messages, tools: [{ name: 'f' }] }]
    const of = async (source: string, more = {}) => {
      const template = join(folder, 'shown.jinja')
      await writeFile(template, source)
      const warnings: string[] = []
      const onWarning = (message: string) => warnings.push(message)
      const { summary } = await loadDataset(rows, { tokenizer, template, onWarning, ...more })
      return { warnings, count: summary.droppedTools }
    }
    const shown = '{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}'
    const warning =
      'the rows given: the chat template leaves out the tools of 1 conversation (first: row 3 of the rows given); name a template that knows tools (the option template).'
    expect(await of(shown)).toEqual({ warnings: [warning], count: 1 })
    expect(await of(shown, { trainOn: 'all' })).toEqual({ warnings: [warning], count: 1 })
    expect((await of(shown, { tools: [{ name: 'g' }] })).count).toBe(2)
    expect(await of(`{{ tools | tojson }}${shown}`)).toEqual({ warnings: [], count: 0 })
  })

  it('says once that schemas or calls hold nulls of Arrow', async () => {
    const template = join(folder, 'nulls.jinja')
    const call = '{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}'
    await writeFile(template, `{{ tools | tojson }}{% for m in messages %}{{ m.content }}${call}<|im_end|>{% endfor %}`)
    const rowOf = (parameters: object | null, given?: object) => ({
      messages: [
        { role: 'user', content: 'How many?' },
        {
          role: 'assistant',
          content: 'six',
          ...(given && { tool_calls: [{ type: 'function', function: { name: 'f', arguments: given } }] }),
        },
      ],
      ...(parameters && { tools: [{ type: 'function', function: { name: 'f', parameters } }] }),
    })
    const city = { type: 'object', properties: { city: { type: 'string', default: null, enum: ['a', null] } } }
    const notes = async (...rows: object[]) => {
      const warnings: string[] = []
      await loadDataset(rows, { tokenizer, template, onWarning: (message) => warnings.push(message) })
      return warnings.filter((warning) => warning.includes('Arrow'))
    }
    expect(await notes(rowOf(city), rowOf(city, { city: null }), rowOf(city, { city: 'a' }))).toEqual([])
    for (const row of [
      rowOf({ ...city, additionalProperties: null }),
      rowOf({ type: 'object', properties: { city: { type: 'string', items: null }, n: null } }),
      rowOf(city, { city: 'a', n: null }),
      rowOf(null, { city: 'a', n: null }),
    ]) {
      expect(await notes(rowOf(city), row, row), JSON.stringify(row)).toEqual([
        expect.stringMatching(/nulls in 2 conversations \(first: row 2 of the rows given\), as Arrow .*as Parquet/),
      ])
    }
  })

  it('passes tools to templates, also from a file, whose numbers keep their form', async () => {
    await writeFile(
      join(folder, 'tools.jinja'),
      '{{ tools | tojson }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}',
    )
    await writeFile(join(folder, 'tools.json'), '[{"name": "f", "least": 2.0}]')
    const options = { tokenizer, template: join(folder, 'tools.jinja'), cacheDir: join(folder, 'tool-cache') }
    const text = async (tools: string | unknown[]) => {
      const data = await loadDataset(file, { ...options, tools })
      return (await tokenizer.decode(data.row(0).documents[0]!.ids)).split('How')[0]
    }
    expect(await text(join(folder, 'tools.json'))).toBe('[{"name": "f", "least": 2.0}]')
    expect(await text([])).toBe('[]')
    await writeFile(join(folder, 'tools.json'), '{"name": "f"}')
    await expect(text(join(folder, 'tools.json'))).rejects.toThrow(/tools\.json: expected a JSON list of the schemas/)
    await expect(text(join(folder, 'absent.json'))).rejects.toThrow(/absent\.json cannot be read/)
  })

  it('T12 reports which special tokens are trained', async () => {
    const { trainedSpecialTokens } = (await load()).summary
    expect(trainedSpecialTokens).toEqual([
      { id: 1, token: '<|end|>', count: 1 },
      { id: 3, token: '<|im_end|>', count: 1 },
    ])
  })

  it('T5 refuses data in which nothing is trained, except to look at it', async () => {
    const rows = [{ input_ids: [1, 2], labels: [-100, -100] }, { input_ids: [5] }]
    await expect(loadDataset(rows, { tokenizer })).rejects.toThrow(/nothing would be trained in any of its 2 rows/)
    const kept = await loadDataset(rows, { tokenizer, keepWithoutTarget: true })
    expect(kept.summary).toMatchObject({ rows: 2, withoutTarget: 2, dropped: 0, targetTokens: 0 })
    await expect(loadDataset(new Set(), { tokenizer })).rejects.toThrow(/^the rows given: no row was found/)
  })

  it('names the line of an id past the vocabulary and of a malformed row', async () => {
    await expect(load({ vocabularySize: 9 })).rejects.toThrow(/rows\.jsonl:\d: id \d+ at position \d+/)
    await expect(loadDataset([{ text: ['x'] }], { tokenizer })).rejects.toThrow(
      /^row 1 of the rows given: text: expected a text/,
    )
  })

  it('says once which columns to ignore no row has, also of rows from the cache', async () => {
    const notes: string[] = []
    const options = { ignoreColumns: ['nope', 'id'], onWarning: (note: string) => notes.push(note) }
    const rows = [
      { prompt: 'a', completion: 'b', id: 1 },
      { prompt: 'c', completion: 'd' },
    ]
    await loadDataset(rows, { tokenizer, ...options })
    expect(notes).toEqual(['the rows given: no row that was read has the column "nope", which ignoreColumns names.'])
    await loadDataset(rows, { tokenizer, ...options, ignoreColumns: ['id'] })
    expect(notes).toHaveLength(1)
  })

  it('refuses tools and options of a template where no template is in use', async () => {
    const rows = [{ prompt: 'a', completion: 'b' }]
    const options = { tokenizer, template: 'none' }
    await expect(loadDataset(rows, { ...options, tools: [{ name: 'f' }] })).rejects.toThrow(
      /^Tools need a chat template/,
    )
    await expect(loadDataset(rows, { ...options, templateOptions: { a: 1 } })).rejects.toThrow(/^Options of a template/)
  })

  it('has a hash that follows tokens and masks only', async () => {
    const a = await loadDataset([{ input_ids: [1, 2, 3] }], { tokenizer: null })
    const b = await loadDataset([{ input_ids: [1, 2, 3], labels: [1, 2, 3] }], { tokenizer })
    const c = await loadDataset([{ input_ids: [1, 2, 3], labels: [1, -100, 3] }], { tokenizer })
    expect(b.hash).toBe(a.hash)
    expect(c.hash).not.toBe(a.hash)
  })

  it('has no row before the first or after the last, and none of less than two tokens', async () => {
    const data = await load()
    for (const index of [-1, data.length, 0.5]) expect(() => data.row(index)).toThrow(/a row from 0 to 2/)
    for (const maxLength of [1, 2.5]) await expect(load({ maxLength })).rejects.toThrow(/at least 2 for maxLength/)
  })

  it('says where a template opens turns otherwise than it prompts for them', async () => {
    const warnings: string[] = []
    const roles = ['user', 'assistant', 'user', 'assistant']
    const messages = roles.map((role, i) => ({ role, content: `turn ${i}` }))
    const options = { tokenizer, template: templatePath('thinking') }
    await loadDataset([{ messages }], { ...options, onWarning: (message) => warnings.push(message) })
    expect(warnings).toEqual([
      expect.stringMatching(/^the rows given: the chat template opens 1 of the assistant's turns/),
    ])
  })

  it('says how many rows were too long and what happened to them, by the name of the option', async () => {
    const labels = [-100, 2, -100, -100, -100, 6]
    const rows = [
      { input_ids: [1, 2, 3, 4] },
      { input_ids: [1, 2] },
      { input_ids: [1, 2, 3, 4, 5, 6], labels },
      { input_ids: [1, 2, 3, 4, 6], labels: [-100, -100, -100, -100, 6] },
    ]
    const of = async (longRows: DatasetOptions['longRows']) => {
      const warnings: string[] = []
      const onWarning = (message: string) => warnings.push(message)
      const { summary } = await loadDataset(rows, { tokenizer: null, maxLength: 3, longRows, onWarning })
      return { warnings, truncated: summary.truncated, cut: summary.cut }
    }
    const none = { turns: 0, inside: 0, split: 0, into: 0, dropped: 0, questions: 0 }
    const end = 'the option longRows chooses the part to keep.'
    const begin = 'the rows given: 3 rows had more than maxLength tokens (the longest 6)'
    const kept = '1 lost whole turns, 1 lost a part of a turn, 1 was left out, since no part of an answer fits'
    expect(await of('keep-start')).toEqual({
      warnings: [`${begin}: ${kept}; ${end}`],
      truncated: 2,
      cut: { ...none, turns: 1, inside: 1, questions: 1 },
    })
    expect(await of('drop')).toEqual({
      warnings: [`${begin}: 3 were left out; ${end}`],
      truncated: 0,
      cut: { ...none, dropped: 3 },
    })
    expect((await of('split')).warnings).toEqual([
      expect.stringContaining(': 1 lost whole turns, 1 became 2 rows, 1 was'),
    ])
    await expect(of('error')).rejects.toThrow(/^row 1 of the rows given: the row has 4 tokens, more than maxLength 3;/)
  })

  it('counts the rows of each source by their length, too', async () => {
    const [short, long] = [[{ input_ids: [1, 2] }], [{ input_ids: [1, 2, 3, 4] }]]
    const { parts, summary } = await loadDataset([{ rows: long }, { rows: short }], { tokenizer: null, maxLength: 3 })
    expect(parts).toMatchObject([
      { rows: 1, longest: 4, truncated: 1, cut: { inside: 1 } },
      { rows: 1, longest: 2, truncated: 0, cut: { inside: 0 } },
    ])
    expect(summary).toMatchObject({ longest: 4, truncated: 1, cut: { inside: 1 } })
  })

  it('T5 refuses data all rows of which are too long, with the reason', async () => {
    const rows = [{ input_ids: [1, 2, 3], labels: [-100, -100, 3] }]
    const of = (longRows: DatasetOptions['longRows']) => loadDataset(rows, { tokenizer: null, maxLength: 2, longRows })
    await expect(of('keep-start')).rejects.toThrow(/any of its 1 row \(questions of maxLength tokens or more\)\.$/)
    await expect(of('drop')).rejects.toThrow(/any of its 1 row \(more than maxLength tokens, with longRows: drop\)\.$/)
  })

  it('tells how many rows and tokens there are so far, and which part of the file was read', async () => {
    const seen: TokeniseProgress[] = []
    const data = await load({ onProgress: (progress) => seen.push(progress), keepWithoutTarget: true })
    expect(seen).toEqual([{ rows: 4, tokens: data.summary.tokens, share: 1 }])
  })

  it('keeps tens of thousands of rows whole', async () => {
    const rows = Array.from({ length: 20000 }, (_, i) => ({ input_ids: [i, i + 1, (i * 7) % 1000] }))
    const data = await loadDataset(rows, { tokenizer: null })
    expect(data.length).toBe(20000)
    for (const i of [0, 255, 256, 9999, 19999]) expect([...data.row(i).documents[0]!.ids]).toEqual(rows[i]!.input_ids)
  })
})

describe('the cache', () => {
  const cached = async () => (await readdir(join(folder, 'cache', 'datasets')).catch(() => [])).sort()

  it('is found by content and options, and rebuilt when it is damaged', async () => {
    const cacheDir = join(folder, 'cache')
    const first = await load({ cacheDir })
    const [name, ...others] = await cached()
    expect(others).toEqual([])
    let reads = 0
    const again = () => load({ cacheDir, onProgress: () => reads++ })
    expect((await again()).hash).toBe(first.hash)
    expect(reads).toBe(0)

    const path = join(cacheDir, 'datasets', name!)
    const bytes = await readFile(path)
    const flipped = Buffer.from(bytes)
    flipped[flipped.length - 40]! ^= 1
    for (const damaged of [flipped, bytes.subarray(0, -3), Buffer.from('no cache'), Buffer.alloc(0)]) {
      await writeFile(path, damaged)
      reads = 0
      const rebuilt = await again()
      expect(rebuilt.hash).toBe(first.hash)
      expect(rebuilt.summary).toEqual(first.summary)
      expect(reads).toBeGreaterThan(0)
      expect(await readFile(path)).toEqual(bytes)
    }
  })

  it('keeps documents, margins and weights of pairs', async () => {
    const path = join(folder, 'pairs.jsonl')
    const pairs = [0, 1, 2].map((i) => ({
      prompt: 'a b',
      chosen: `c${i}`,
      rejected: 'd e f',
      margin: i,
      weight: 1 + i,
    }))
    await writeFile(path, pairs.map((row) => JSON.stringify(row)).join('\n'))
    let reads = 0
    const read = (cacheDir: string | null) =>
      loadDataset(path, { tokenizer, rows: 'pairs', cacheDir, onProgress: () => reads++ })
    const [fresh] = [await read(null), await read(join(folder, 'pair-cache'))]
    reads = 0
    const cached = await read(join(folder, 'pair-cache'))
    expect([reads, cached.hash]).toEqual([0, fresh!.hash])
    for (const [i, { margin, weight }] of pairs.entries()) {
      expect(cached.row(i)).toEqual(fresh!.row(i))
      expect(cached.row(i)).toMatchObject({ weight, ...(margin > 0 && { label: margin }) })
      expect(cached.row(i).documents).toHaveLength(2)
    }
  })

  it('is the same for looking at rows, for training, and for any vocabulary that has all ids', async () => {
    const cacheDir = join(folder, 'one-cache')
    const files = async () => readdir(join(cacheDir, 'datasets'))
    const looked = await load({ cacheDir, keepWithoutTarget: true })
    expect(looked.summary).toMatchObject({ rows: 4, withoutTarget: 1, dropped: 0 })
    let reads = 0
    const trained = await load({ cacheDir, vocabularySize: 502, onProgress: () => reads++ })
    const fresh = await load({ cacheDir: null })
    expect(trained.summary).toEqual(fresh.summary)
    expect([trained.hash, trained.parts]).toEqual([fresh.hash, fresh.parts])
    expect([0, 1, 2].map((row) => trained.row(row))).toEqual([0, 1, 2].map((row) => fresh.row(row)))
    expect(reads).toBe(0)
    await expect(load({ cacheDir, vocabularySize: 9 })).rejects.toThrow(/rows\.jsonl:\d: id \d+ at position/)
    expect(await files()).toHaveLength(1)
  })

  it('keeps other lengths, templates and contents apart', async () => {
    const cacheDir = join(folder, 'cache')
    const before = (await cached()).length
    await load({ cacheDir, maxLength: 8 })
    await load({ cacheDir, trainOn: 'all' })
    await load({ cacheDir, longRows: 'drop' })
    await load({ cacheDir, template: templatePath('begin-trimmed') })
    expect(await cached()).toHaveLength(before + 4)
  })

  it('is used by default, for large data only', async () => {
    const previous = process.env.MORA_CACHE
    process.env.MORA_CACHE = join(folder, 'default-cache')
    await load()
    expect(await readdir(folder)).not.toContain('default-cache')
    const large = join(folder, 'large.jsonl')
    await writeFile(large, `${JSON.stringify({ input_ids: [1, 2, 3], filling: ' '.repeat(256 * 1024) })}\n`)
    await loadDataset(large, { tokenizer: null })
    expect(await readdir(join(folder, 'default-cache', 'datasets'))).toHaveLength(1)
    if (previous === undefined) delete process.env.MORA_CACHE
    else process.env.MORA_CACHE = previous
  })

  it('is skipped with a warning where it cannot be written', async () => {
    const warnings: string[] = []
    const data = await load({ cacheDir: file, onWarning: (message) => warnings.push(message) })
    expect(data.length).toBe(3)
    expect(warnings).toContainEqual(expect.stringMatching(/^The tokenised data could not be kept in .*rows\.jsonl: /))
  })
})
