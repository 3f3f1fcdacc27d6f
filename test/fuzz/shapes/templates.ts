import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ChatTemplate } from '../../../lib/text/template.js'
import { conversation } from './rows.js'
import { numbered, repeated, shapes } from './shape.js'

export const ofTemplates = shapes(
  'template',
  'a.jinja',
  async (folder) => {
    const template = new ChatTemplate({
      source: readFileSync(join(folder, 'a.jinja'), 'utf8'),
      specialTokens: {},
      origin: 'a.jinja',
    })
    await template.render(
      conversation(4, () => 'x'),
      { addGenerationPrompt: true },
    )
  },
  {
    text: (bytes) => repeated('a', bytes),
    spaces: (bytes) => repeated(' ', bytes),
    lines: (bytes) => repeated(' \n', bytes),
    expressions: (bytes) => repeated('{{ 1 }}', bytes),
    'open expressions': (bytes) => repeated('{{ ', bytes),
    'open marks': (bytes) => repeated('{%', bytes),
    'marks of generation': (bytes) => repeated('{%- generation', bytes),
    'spaces in marks': (bytes) => `{%${repeated(' ', bytes)}`,
    blocks: (bytes) => repeated('{% if x %}a{% endif %}', bytes),
    'blocks in blocks': (bytes) => repeated('{% if 1 %}', bytes / 2) + repeated('{% endif %}', bytes / 2),
    loops: (bytes) => repeated('{% for m in messages %}{{ m.content }}{% endfor %}', bytes),
    comments: (bytes) => repeated('{# x #}', bytes),
    'an open comment': (bytes) => `{#${repeated('x', bytes)}`,
    'a sum': (bytes) => `{{ ${repeated('1+', bytes)}1 }}`,
    brackets: (bytes) => `{{ ${repeated('(', bytes)}`,
    'a list': (bytes) => `{{ [${repeated('1,', bytes)}1] | length }}`,
    filters: (bytes) => `{{ 'a'${repeated('|trim', bytes)} }}`,
    'a long text in a text': (bytes) => `{{ "${repeated('\\"', bytes)}" }}`,
    assignments: (bytes) => numbered(bytes, (i) => `{% set a${i} = ${i} %}`),
    'a growing text': (bytes) => `{% set a = "" %}${repeated('{% set a = a ~ "aaaaaaaa" %}', bytes)}`,
    elses: (bytes) => `{% if 0 %}${repeated('{% elif 0 %}', bytes)}{% endif %}`,
  },
)
