import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseOptions, resolveWithConfig, TrainSchema } from '../../lib/options/index.js'

const folder = mkdtempSync(join(tmpdir(), 'mora-config-'))

function file(content: string): string {
  const path = join(folder, 'options.yaml')
  writeFileSync(path, content)
  return path
}

const resolve = (content: string, flags: object = {}) =>
  resolveWithConfig(TrainSchema, { config: file(content), ...flags })

describe('options from a YAML file', () => {
  it('override defaults, and are overridden by flags', () => {
    const options = resolve('rank: 4\nlearningRate: 3e-4\npacking: false\n', { rank: 16 })
    expect(options).toMatchObject({ rank: 16, learningRate: 3e-4, packing: false, batchSize: 8 })
  })

  it('may be lists, and null is left out', () => {
    const options = resolve('data: [a.jsonl, b.jsonl]\ntargetModules: [q_proj]\nmaxSteps: null\n')
    expect(options).toMatchObject({ data: ['a.jsonl', 'b.jsonl'], targetModules: ['q_proj'] })
    expect(options.maxSteps).toBeUndefined()
  })

  it('may be empty', () => {
    expect(resolve('# nothing\n').rank).toBeUndefined()
  })

  it('may be those of a run, which repeats it', () => {
    const run = 'options:\n  rank: 3\n  overwrite: true\n  rankPattern: {}\nversions: { node: v20 }\n'
    expect(resolve(run)).toMatchObject({ rank: 3, overwrite: false })
  })

  it('cannot name another file, nor can options of the library', () => {
    expect(resolve('rank: 3\n')).not.toHaveProperty('config')
    expect(() => resolve('config: other.yaml\n')).toThrow(/config in .*options\.yaml is for the command line only/)
    expect(() => parseOptions(TrainSchema, { config: 'other.yaml' })).toThrow('command line only')
  })

  it('that contain themselves are refused', () => {
    expect(() => resolve('model: &a [*a]\n')).toThrow(/is not YAML: an alias in it stands for/)
  })

  it('are named with their file if they are wrong', () => {
    expect(() => resolve('rank: eight\n')).toThrow(/for rank in .*options\.yaml but received "eight"/)
    expect(() => resolve('batch-size: 2\n')).toThrow(/Unknown option batch-size in .*; did you mean batchSize\?/)
    expect(() => resolve('rank: 8\nrank: 9\n')).toThrow(/is not YAML/)
    expect(() => resolve('- rank\n')).toThrow(/Expected options by name in .* but found a list/)
    expect(() => resolve('config: other.yaml\n')).toThrow('for the command line only')
    expect(() => resolveWithConfig(TrainSchema, { config: join(folder, 'absent.yaml') })).toThrow(
      /Cannot read the options in .*absent\.yaml: there is no such file\./,
    )
  })
})
