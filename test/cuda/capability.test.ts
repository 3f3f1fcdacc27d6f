import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { initModel } from '../../lib/models/load-model.js'
import { train } from '../../lib/train/train.js'
import { fileOf, useTemporaryFolder } from '../io/temporary.js'
import { tinyLlama } from './tiny-llama.js'

const at = useTemporaryFolder()

test('T30 heads that are too large for the kernels are reported before the first step', async () => {
  const config = { ...tinyLlama, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 1024 }
  const path = fileOf(at(), 'config.json', JSON.stringify(config))
  using model = await initModel(path, { device: 'cuda', dtype: 'float32' })
  writeFileSync(join(at(), 'rows.jsonl'), '{"input_ids": [1, 2, 3]}\n')
  const run = train(model, { data: join(at(), 'rows.jsonl'), output: join(at(), 'out'), method: 'lora', rank: 2 })
  const refused = {
    code: 'unsupported',
    message: expect.stringMatching(/cannot be trained on cuda .*head size of 1024/),
  }
  await expect(run.finished).rejects.toMatchObject(refused)
  expect(readdirSync(at()).sort()).toEqual(['config.json', 'rows.jsonl'])
})
