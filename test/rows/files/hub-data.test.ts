import { basename } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type DataPurpose, findDataFiles, locateData } from '../../../lib/rows/files/data-files.js'
import { commitOf } from '../../hub/stand-in.js'
import { useStandIn } from '../../hub/use-stand-in.js'
import { expectRejection } from '../../io/temporary.js'

const hub = useStandIn()
const COMMIT = commitOf('owner/rows')

const add = (names: readonly string[], card?: string) =>
  hub().standIn.add({
    kind: 'dataset',
    id: 'owner/rows',
    files: {
      ...Object.fromEntries(names.map((name) => [name, `{"text": "${name}"}`])),
      ...(card && { 'README.md': card }),
    },
  })

async function find(text: string, purpose?: DataPurpose) {
  const { files, reference } = await locateData(text, { purpose, ...hub().options })
  return { files: files.map((file) => file.slice(file.indexOf(COMMIT) + COMMIT.length + 1)), reference }
}

describe('data of the hub', () => {
  const plain = [
    'README.md',
    'train.jsonl',
    'valid.jsonl',
    'test-1.jsonl',
    'test-2.jsonl',
    'dataset_infos.json',
    'LICENSE.txt',
  ]

  test('is by default the split that fits its purpose', async () => {
    add(plain)
    expect(await find('owner/rows')).toEqual({ files: ['train.jsonl'], reference: `owner/rows@${COMMIT}:train` })
    expect((await find('owner/rows', 'validation')).files).toEqual(['valid.jsonl'])
    expect((await find('owner/rows', 'evaluation')).files).toEqual(['test-1.jsonl', 'test-2.jsonl'])
    expect(hub().standIn.downloads.map(({ path }) => basename(path))).not.toContain('dataset_infos.json')
  })

  test('is the named split, file or folder', async () => {
    add([...plain, 'more/x.csv', 'more/y.csv'])
    expect((await find('owner/rows:validation')).files).toEqual(['valid.jsonl'])
    expect(await find('owner/rows/test-2.jsonl')).toEqual({
      files: ['test-2.jsonl'],
      reference: `owner/rows@${COMMIT}/test-2.jsonl`,
    })
    expect(await find('owner/rows/more')).toEqual({
      files: ['more/x.csv', 'more/y.csv'],
      reference: `owner/rows@${COMMIT}/more:train`,
    })
  })

  test('is resolved again by its recorded reference, without a request', async () => {
    add(plain)
    const { reference } = await find('owner/rows')
    const requests = hub().standIn.requests.length
    expect((await find(reference, 'evaluation')).files).toEqual(['train.jsonl'])
    expect(hub().standIn.requests).toHaveLength(requests)
    const offline = { ...hub().options, settings: { ...hub().options.settings, offline: true } }
    expect((await locateData(reference, offline)).reference).toBe(reference)
  })

  test('without splits is a single split, whatever its purpose', async () => {
    add(['a.jsonl', 'b.jsonl', 'notes.txt'])
    expect((await find('owner/rows', 'evaluation')).files).toEqual(['a.jsonl', 'b.jsonl'])
  })

  const card = `---
configs:
- config_name: main
  data_files: [{split: train, path: main/train*}, {split: test, path: main/test*}]
- config_name: socratic
  data_files: [{split: train, path: socratic/*}]
---
`
  const configured = ['main/train.jsonl', 'main/test.jsonl', 'socratic/a.jsonl']

  test('in configurations is the one that is named, with its split', async () => {
    add(configured, card)
    expect((await find('owner/rows:main')).files).toEqual(['main/train.jsonl'])
    expect(await find('owner/rows:main:test')).toEqual({
      files: ['main/test.jsonl'],
      reference: `owner/rows@${COMMIT}:main:test`,
    })
    expect((await find('owner/rows:socratic', 'evaluation')).files).toEqual(['socratic/a.jsonl'])
    expect((await find('owner/rows/main', 'evaluation')).files).toEqual(['main/test.jsonl'])
  })

  test('with a default configuration needs no name of it', async () => {
    add(configured, card.replace('main\n', 'main\n  default: true\n'))
    expect((await find('owner/rows', 'evaluation')).files).toEqual(['main/test.jsonl'])
    expect((await find('owner/rows:test')).files).toEqual(['main/test.jsonl'])
    expect((await find('owner/rows:socratic')).files).toEqual(['socratic/a.jsonl'])
  })

  test('that is not named well enough is refused with the names there are', async () => {
    add(configured, card)
    await expectRejection(
      find('owner/rows'),
      'ambiguous-data',
      /^The data set owner\/rows has several configurations: name one, as owner\/rows:main; there are main, socratic\.$/,
    )
    await expectRejection(find('owner/rows:other'), 'ambiguous-data', /has no configuration or split "other"/)
    await expectRejection(
      find('owner/rows:main:dev'),
      'ambiguous-data',
      /^The configuration main of the data set owner\/rows has no split "dev": name one, as owner\/rows:main:train; there are train, test\.$/,
    )
    add(['validation.jsonl', 'test.jsonl'])
    await expectRejection(
      find('owner/rows'),
      'ambiguous-data',
      /has several splits and no default among them: name one, as owner\/rows:test/,
    )
    await expectRejection(find('owner/rows:a:b'), 'ambiguous-data', /no configuration or split "a"/)
    await expectRejection(find('owner/rows/test.jsonl:train'), 'bad-value', /is a file and has no split/)
    await expectRejection(
      find('owner/rows/absent'),
      'file-not-found',
      /has no file or folder absent; it has validation\.jsonl, test\.jsonl/,
    )
  })

  test('in an unsupported format is refused before it is downloaded', async () => {
    add(['rows.arrow', 'script.py'])
    await expectRejection(
      find('owner/rows'),
      'missing-data',
      /try the hub's own Parquet form of it, owner\/rows@refs\/convert\/parquet\.$/,
    )
    await expectRejection(find('owner/rows/rows.arrow'), 'unsupported-data', /\.arrow files are not read/)
    expect(hub().standIn.downloads).toEqual([])
  })

  test('of a missing file is reported as a path and as an id', async () => {
    await expectRejection(
      findDataFiles('train.jsonl', hub().options),
      'missing-file',
      /^The data train\.jsonl does not exist; expected a file, a folder, or a hub id, which is owner\/name\.$/,
    )
    await expectRejection(findDataFiles('data/train.jsonl', hub().options), 'missing-file', /does not exist/)
    await expectRejection(
      findDataFiles('no/such', hub().options),
      'repository-not-found',
      /^"no\/such" is neither a file or folder here nor a data set at/,
    )
  })
})
