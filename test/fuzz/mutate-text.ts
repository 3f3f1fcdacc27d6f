/** Changes of texts that people and programs write: YAML, CSV, JSON lines, templates. */
import { choose, few, pick, type Random } from './random.js'

/** Pieces that have a meaning to some reader. */
const pieces = [
  '"',
  '""',
  "'",
  ',',
  ';',
  '\t',
  '\r',
  '\n',
  '\n\n',
  '\r\n',
  '\ufeff',
  '\0',
  '\u001b[2J',
  '\u009b31m',
  '\u202e',
  '\u2028',
  '\ud800',
  '{',
  '}',
  '[',
  ']',
  ':',
  ': ',
  '- ',
  '? ',
  '&a ',
  '*a',
  '<<: *a',
  '!!js/function x',
  '!!binary x',
  '!!python/object:os.system x',
  '---\n',
  '...\n',
  '%YAML 1.1\n',
  '|\n',
  '>\n',
  '#',
  '__proto__: {a: 1}',
  '{"__proto__": {"text": "x"}}',
  '{{',
  '}}',
  '{%',
  '%}',
  '{% for i in range(1000000000) %}',
  '{% endfor %}',
  '{% if x %}',
  '\\',
  '\\u0000',
  '\\ud800',
  '1e999',
  '-',
  '-0',
  'null',
  'true',
  '[[[[[[[[',
  '999999999999999999999999',
]

export function mutateText(random: Random, text: string): string {
  let changed = text
  for (let times = few(random); times > 0; times--) changed = changedOnce(random, changed)
  return changed
}

function changedOnce(random: Random, text: string): string {
  const [at, to] = [random.integer(text.length + 1), random.integer(text.length + 1)]
  const end = Math.min(text.length, at + 1 + random.integer(30))
  const lines = text.split('\n')
  const line = random.integer(lines.length)
  return choose(random, [
    [4, () => text.slice(0, at) + pick(random, pieces) + text.slice(at)],
    [2, () => text.slice(0, at) + text.slice(end)],
    [1, () => text.slice(0, at) + text.slice(at, end).repeat(1 + random.integer(20)) + text.slice(at)],
    [1, () => text.slice(0, at) + text.slice(to, Math.min(text.length, to + 20)) + text.slice(at)],
    [1, () => text.slice(0, at)],
    [1, () => lines.toSpliced(line, 1).join('\n')],
    [1, () => lines.toSpliced(line, 0, lines[random.integer(lines.length)]!).join('\n')],
    [1, () => text.slice(0, at) + String.fromCharCode(random.integer(65536)) + text.slice(at + 1)],
    [0.2, () => ''],
  ])
}
