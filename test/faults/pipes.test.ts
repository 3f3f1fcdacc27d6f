/** A pipe without a writer in place of a file is refused; nothing waits for it. */
import { spawnSync } from 'node:child_process'
import { cpSync, lstatSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { words } from '../cli/words.js'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { main } from './command.js'

const temporary = useTemporaryFolder()
const rows = goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl')
const seconds = 1000

function pipe(path: string): string {
  rmSync(path, { force: true })
  expect(spawnSync('mkfifo', [path]).status).toBe(0)
  return path
}

/** A copy of a model, one of whose files is a pipe. */
function modelWithPipe(name: string): string {
  const model = join(temporary(), `model-${name}`)
  cpSync('assets/demo-model', model, { recursive: true })
  pipe(join(model, name))
  return model
}

/** Returns the command's output; it must end by itself. */
function said(...argv: string[]): string {
  const { status, signal, stderr } = spawnSync(process.execPath, [main, ...argv], {
    encoding: 'utf8',
    timeout: 60 * seconds,
  })
  expect([status, signal], stderr).toEqual([expect.any(Number), null])
  expect(status).not.toBe(0)
  return stderr
}

const weights = readdirSync('assets/demo-model').find((name) => name.endsWith('.safetensors'))!
const notAFile = /not a regular file/

needing(lacksBuild).describe('a pipe in the place of', { timeout: 120 * seconds }, () => {
  test.each(['config.json', 'tokenizer.json', 'tokenizer_config.json', weights])('%s', (name) => {
    expect(said('generate', '--model', modelWithPipe(name), '--prompt', 'x', '--max-new-tokens', '1')).toMatch(notAFile)
  })

  test('data', () => {
    const data = pipe(join(temporary(), 'rows.jsonl'))
    expect(said('inspect', '--model', 'assets/demo-model', '--data', data)).toMatch(/pass a pipe as standard input/)
  })

  test('a template, options, and tools', () => {
    const file = pipe(join(temporary(), 'file'))
    const inspect = ['inspect', '--model', 'assets/demo-model', '--data', rows]
    expect(said(...inspect, '--template', file)).toMatch(/cannot be read/)
    expect(said(...inspect, '--tools', file)).toMatch(/cannot be read/)
    expect(said('train', '--config', file)).toMatch(notAFile)
  })

  test('what a run writes', () => {
    const output = join(temporary(), 'run')
    mkdirSync(output)
    pipe(join(output, '.lock'))
    expect(
      said('train', '--model', 'assets/demo-model', '--data', rows, '--output', output, '--max-steps', '1'),
    ).toMatch(/lock/)
  })
})

needing(lacksBuild).describe('a pipe in a run', { timeout: 240 * seconds }, () => {
  const data = () => {
    const path = join(temporary(), 'rows.jsonl')
    writeFileSync(path, '{"prompt":"a","completion":"b"}\n')
    return path
  }
  const train = (output: string, ...more: string[]) => words`
    train --model assets/demo-model --data ${data()} --output ${output} --rank 1 --threads 1 --max-steps 2
    --save-every 1 --batch-size 1 ${more}
  `
  const result = (...argv: string[]) =>
    spawnSync(process.execPath, [main, ...argv], { encoding: 'utf8', timeout: 60 * seconds })

  test('counts as a torn checkpoint for manifest.json, and as no metrics for metrics.jsonl', () => {
    const output = join(temporary(), 'run')
    expect(result(...train(output)).status).toBe(0)
    const checkpoints = readdirSync(join(output, 'checkpoints')).sort()
    pipe(join(output, 'checkpoints', checkpoints.at(-1)!, 'manifest.json'))
    for (const name of ['metrics.jsonl', 'samples.jsonl']) pipe(join(output, name))
    const { status, stderr } = result(...train(output, '--resume', '--max-steps', '3', '--allow-changes', 'max-steps'))
    expect([status, stderr]).toEqual([
      0,
      expect.stringMatching(/manifest\.json is missing or malformed .*not a regular file/),
    ])
    expect(lstatSync(join(output, 'metrics.jsonl')).isFile()).toBe(true)
  })

  test('is not written into, nor read for a report', () => {
    const output = join(temporary(), 'run')
    mkdirSync(output)
    for (const name of ['metrics.jsonl', 'run.yaml', 'samples.jsonl', '.lock']) pipe(join(output, name))
    expect(said(...train(output))).toMatch(/lock/)
    expect(said('report', output)).toMatch(/holds no run/)
    rmSync(join(output, '.lock'))
    expect(said(...train(output))).toMatch(/metrics\.jsonl|overwrite/)
  })
})

needing(lacksBuild).test('a file that is too large to be read as a whole', () => {
  const file = join(temporary(), 'template.jinja')
  writeFileSync(file, '')
  truncateSync(file, 2 ** 34) // sparse
  expect(said('inspect', '--model', 'assets/demo-model', '--data', rows, '--template', file)).toMatch(/cannot be read/)
})
