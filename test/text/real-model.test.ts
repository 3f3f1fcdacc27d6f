/** The real model's tokenizer and template against the reference (golden/smollm2-135m.json of MORA_TEST_ASSETS). */
import { readFile } from 'node:fs/promises'
import { beforeAll, expect, it } from 'vitest'
import { loadDataset } from '../../lib/batches/dataset.js'
import { maskChat } from '../../lib/text/chat-mask.js'
import type { Message } from '../../lib/text/template.js'
import { loadTokenizer, type Tokenizer } from '../../lib/text/tokenizer.js'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { goldenPath } from '../golden/files.js'
import { needing } from '../needs.js'

interface Golden {
  tokenisation: { text: string; ids: number[] }[]
  chat: { messages: Message[]; rendered: string; ids: number[]; mask: number[] }[]
}

const conversations = 'data/gsm-symbolic/chat.jsonl'

needing(lacksRealModel).describe('SmolLM2 from GGUF', () => {
  let tokenizer: Tokenizer
  let golden: Golden
  beforeAll(async () => {
    tokenizer = (await loadTokenizer(assetPath(REAL_MODEL)))!
    golden = JSON.parse(await readFile(goldenPath('smollm2-135m.json'), 'utf8'))
  })

  it('tokenises as the reference and decodes back', async () => {
    for (const { text, ids } of golden.tokenisation) {
      expect(await tokenizer.encode(text)).toEqual(ids)
      expect(await tokenizer.encodeText(text)).toEqual(ids)
      expect(await tokenizer.decode(ids)).toBe(text)
    }
  })

  it('T7 T9 renders, tokenises and masks conversations as the reference', async () => {
    for (const { messages, rendered, ids, mask } of golden.chat) {
      expect(await tokenizer.renderChat(messages, { addGenerationPrompt: false })).toBe(rendered)
      const chat = await maskChat(tokenizer, tokenizer.template!, messages, 'golden')
      expect([...chat.ids]).toEqual(ids)
      expect([...chat.mask]).toEqual(mask)
      expect(chat.foreignOpenings).toBe(0)
    }
  })

  needing(lacksAsset(conversations, 'data sets')).it(
    'reads a data set of conversations, and finds every one trained',
    async () => {
      const data = await loadDataset(assetPath(conversations), { tokenizer, cacheDir: null })
      expect(data.length).toBe(300)
      expect(data.summary).toMatchObject({ truncated: 0, withoutTarget: 0, dropped: 0, foreignOpenings: 0 })
      expect(data.summary.trainedSpecialTokens.map(({ token }) => token)).toEqual(['<|im_end|>'])
      expect(data.summary.trainedSpecialTokens[0]!.count).toBeGreaterThanOrEqual(300)
    },
  )
})
