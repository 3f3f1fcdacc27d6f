import { describe, expect, test } from 'vitest'
import { configurationsOf, splitsOf } from '../../../lib/rows/files/splits.js'

const object = (splits: ReadonlyMap<string, readonly string[]>) => Object.fromEntries(splits)

describe('splits by names', () => {
  test('are those of shards in data/, whatever they are called', () => {
    const files = [
      'data/train_sft-00001-of-00002.parquet',
      'data/train_sft-00000-of-00002.parquet',
      'data/test_gen-00000-of-00001.parquet',
      'train.csv',
    ]
    expect(object(splitsOf(files))).toEqual({
      train_sft: ['data/train_sft-00000-of-00002.parquet', 'data/train_sft-00001-of-00002.parquet'],
      test_gen: ['data/test_gen-00000-of-00001.parquet'],
    })
  })

  test('are otherwise those of words in names of files, or else of folders', () => {
    expect(object(splitsOf(['my.Train-2.csv', 'dev.csv', 'a/eval_1.csv', 'latest.csv', 'strain.csv']))).toEqual({
      train: ['my.Train-2.csv'],
      validation: ['dev.csv'],
      test: ['a/eval_1.csv'],
    })
    expect(object(splitsOf(['x/training/0.parquet', 'x/val/0.parquet', 'x/0.parquet']))).toEqual({
      train: ['x/training/0.parquet'],
      validation: ['x/val/0.parquet'],
    })
  })

  test('are a single one, train, if no name tells', () => {
    expect(object(splitsOf(['b.jsonl', 'a.jsonl']))).toEqual({ train: ['a.jsonl', 'b.jsonl'] })
    expect(object(splitsOf([]))).toEqual({})
  })
})

describe('a card', () => {
  const files = ['README.md', 'main/train-0.parquet', 'main/test-0.parquet', 'socratic/train-0.parquet', 'all.csv']
  const described = (yaml: string) =>
    configurationsOf(`---\n${yaml}\n---\n# A data set`, files, 'The card').map(({ name, isDefault, splits }) => [
      name,
      isDefault,
      object(splits()),
    ])

  test('describes configurations and their splits by patterns', () => {
    const yaml = `
license: mit
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: main/train-*
  - {split: test, path: [main/test-*, main/more-*]}
- config_name: socratic
  data_dir: ./socratic
- config_name: table
  data_files: all.csv`
    expect(described(yaml)).toEqual([
      ['main', true, { train: ['main/train-0.parquet'], test: ['main/test-0.parquet'] }],
      ['socratic', false, { train: ['socratic/train-0.parquet'] }],
      ['table', false, { train: ['all.csv'] }],
    ])
  })

  test('without a name describes the default one', () => {
    expect(described('configs: [{data_files: "*.csv"}]')).toEqual([['default', true, { train: ['all.csv'] }]])
  })

  test('may describe no split', () => {
    expect(described('license: mit')).toEqual([])
    expect(configurationsOf('# No head', files, 'The card')).toEqual([])
  })

  test('whose head is not YAML is refused', () => {
    expect(() => described('a: [')).toThrow(/^The card is malformed: its head is not YAML/)
  })
})
