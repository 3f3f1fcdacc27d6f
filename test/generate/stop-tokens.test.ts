import { describe, expect, it } from 'vitest'
import { ChatTemplate } from '../../lib/data/templates/template.js'
import { stopTokens } from '../../lib/generate/stops.js'
import { tokenizerOf } from '../data/tokenizer/visible-tokenizer.js'

const special = ['<u>', '<a>', '<o>', '<end>', '<call>']
const tokenizer = Object.assign(tokenizerOf({ special }), { eosId: undefined })
const model = { path: '', config: { eosIds: [] }, tokenizer } as unknown as Parameters<typeof stopTokens>[0]

async function stopsOf(source: string): Promise<(string | undefined)[]> {
  const stops = await stopTokens(model, new ChatTemplate({ source, specialTokens: {}, origin: 'test' }))
  return [...stops].map((id) => tokenizer.tokenOf(id)).sort()
}

describe('what generation stops at', () => {
  it('is what ends an answer, and what ends a call', async () => {
    const template =
      '{% for m in messages %}{% if m.role == "user" %}<u>{{ m.content }}{% else %}<a>{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{{ "<call>" if m.tool_calls else "<end>" }}{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}'
    expect(await stopsOf(template)).toEqual(['<call>', '<end>'])
  })

  it('is what opens the next turn where no token ends one', async () => {
    const template =
      '{% for m in messages %}{{ {"user": "<u>", "assistant": "<a>", "tool": "<o>"}[m.role] }}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}'
    expect(await stopsOf(template)).toEqual(['<o>', '<u>'])
  })

  it('is nothing of a template whose turns cannot be told apart', async () => {
    expect(await stopsOf('{% for m in messages %}{{ m.content }}{% endfor %}')).toEqual([])
  })
})
