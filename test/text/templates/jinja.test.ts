/** Jinja as Python's library renders it. Every expected text is the output of jinja2 3.1.6 with transformers' `tojson`. */
import { describe, expect, it } from 'vitest'
import { TemplateProgram, textOf } from '../../../lib/text/templates/compiled-template.js'

const variables = {
  none: null,
  yes: true,
  list: ['a', 1, 2.5, null, true, { k: 'v' }],
  mapping: { b: 1, a: [1, 2], items: 'own' },
  nested: [
    { role: 'user', n: 1 },
    { role: 'tool', n: 2 },
    { role: 'user', n: 3 },
  ],
  two: Object(2),
  small: 1e-7,
  large: Object(1e16),
  wide: 12345678901234567890n,
  quoted: `it's "so"`,
  single: "it's",
  special: 'a\\b\n\t\u00e9\u200b\u{1F600}\u0001',
  spaced: ' \n\u001c x \u0085\ufeff ',
  emoji: '\u{1F600}a',
  ordered: new Map<string, unknown>([
    ['10', 'x'],
    ['2', 'y'],
  ]),
}

function render(source: string, messages: unknown[] = []): string {
  return textOf(new TemplateProgram(source).write(messages, variables))
}

describe('values as text', () => {
  it.each([
    ['{{ list }}', "['a', 1, 2.5, None, True, {'k': 'v'}]"],
    ['{{ mapping | string }}', "{'b': 1, 'a': [1, 2], 'items': 'own'}"],
    ['{{ none }} {{ yes }} {{ missing }}|', 'None True |'],
    ["{{ two }} {{ small }} {{ large ~ '' }} {{ wide }}", '2.0 1e-07 1e+16 12345678901234567890'],
    ['{{ quoted }} {{ [quoted, single] }}', `it's "so" ['it\\'s "so"', "it's"]`],
    ['{{ [special] }}', `['a\\\\b\\n\\té\\u200b😀\\x01']`],
    ['{{ (1, "a") }}', "(1, 'a')"],
    ["{{ 'a' ~ 1 ~ none ~ missing ~ [1] }}", 'a1None[1]'],
    ['{{ 0.1 + 0.2 }} {{ 1 / 2 }} {{ 7 // 2 }} {{ 4 / 2 }} {{ -7 % 3 }}', '0.30000000000000004 0.5 3 2.0 2'],
    ['{{ 2 ** 3 }} {{ 1000.0 }}', '8 1000.0'],
    ['{{ ordered }}', "{'10': 'x', '2': 'y'}"],
    [
      '{{ -7 // 2 }} {{ -7.5 % 2 }} {{ 2 ** -1 }} {{ 2 ** 70 }} {{ wide + 1 }}',
      '-4 0.5 0.5 1180591620717411303424 12345678901234567891',
    ],
    ['{{ 1_000 }} {{ 0x1F }} {{ 1.5e3 }} {{ true + 1 }} {{ -2 ** 2 }}', '1000 31 1500.0 2 4'],
    [String.raw`{{ 'a' "b" 'c\'d\x41\u00e9\q' }}`, String.raw`abc'dAé\q`],
  ])('%s', (source, expected) => expect(render(source)).toBe(expected))
})

describe('tojson', () => {
  it.each([
    ['{{ list | tojson }}', '["a", 1, 2.5, null, true, {"k": "v"}]'],
    ['{{ [two, small, large, wide] | tojson }}', '[2.0, 1e-07, 1e+16, 12345678901234567890]'],
    ['{{ special | tojson }}', '"a\\\\b\\n\\té\u200b😀\\u0001"'],
    ['{{ special | tojson(ensure_ascii=True) }}', '"a\\\\b\\n\\t\\u00e9\\u200b\\ud83d\\ude00\\u0001"'],
    ['{{ mapping | tojson(indent=2) }}', '{\n  "b": 1,\n  "a": [\n    1,\n    2\n  ],\n  "items": "own"\n}'],
    ['{{ mapping | tojson(sort_keys=true, separators=(",", ":")) }}', '{"a":[1,2],"b":1,"items":"own"}'],
    ['{{ {} | tojson(indent=2) }}{{ [] | tojson }}{{ ordered | tojson }}', '{}[]{"10": "x", "2": "y"}'],
    ['{{ \'<a href="x">&\' | tojson }}', '"<a href=\\"x\\">&"'],
  ])('%s', (source, expected) => expect(render(source)).toBe(expected))

  it('refuses what is undefined', () => {
    expect(() => render('{{ missing | tojson }}')).toThrow(/something not defined cannot be written as JSON/)
  })
})

describe('texts', () => {
  it.each([
    ["{{ 'xxaxx'.strip('x') }}|{{ '\n\n a \n'.strip('\n') }}|{{ '\na\n'.lstrip('\n') }}|", 'a| a |a\n|'],
    ['{{ [spaced.strip(), spaced | trim] }}', "['x \\x85\\ufeff', 'x \\x85\\ufeff']"],
    [
      "{{ 'a,b,,c'.split(',', 2) }} {{ ' a  b '.split() }} {{ 'a-b-c'.rsplit('-', 1) }}",
      "['a', 'b', ',c'] ['a', 'b'] ['a-b', 'c']",
    ],
    ["{{ 'hELLO wORLD' | capitalize }} {{ 'hELLO wORLD'.title() }}", 'Hello world Hello World'],
    ["{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'b' in 'abc' }}", 'True True True'],
    ['{{ emoji | length }} {{ emoji[0] }} {{ emoji[::-1] }} {{ emoji[-1] }}', '2 😀 a😀 a'],
    ["{{ 'aXbX'.replace('X', '-', 1) }} {{ 'aXbX' | replace('X', '-') }}", 'a-bX a-b-'],
    [
      "{{ '%s is %d%%' % ('x', 3) }} {{ '%s' | format('y') }} {{ '{} {0} {n}'.replace('{}', 'z') }}",
      'x is 3% y z {0} {n}',
    ],
    ["{{ '{}-{}'.format(1, 'b') }} {{ ', '.join(['a', 'b']) }} {{ '=' * 3 }}", '1-b a, b ==='],
    ["{{ 'a=b=c'.partition('=') }} {{ 'abc'.find('c') }} {{ 'abab'.count('ab') }}", "('a', '=', 'b=c') 2 2"],
    ["{{ ' a b '.split(none, 1) }} {{ ' a b c '.rsplit(none, 1) }}", "['a', 'b '] [' a b', 'c']"],
    ["{{ '%s|%d|%r|%.2f' | format('a', 2.9, 'b', 2.567) }}", "a|2|'b'|2.57"],
    [`{{ "it's a-b" | title }} {{ "it's a-b".title() }}`, "It's A-B It'S A-B"],
    ["{{ 'a\\n\\nb' | indent(2) }}|{{ 'a\\nb' | indent('> ', first=true) }}", 'a\n\n  b|> a\n> b'],
  ])('%s', (source, expected) => expect(render(source)).toBe(expected))
})

describe('collections', () => {
  it.each([
    ['{{ mapping.items() | list }}', "[('b', 1), ('a', [1, 2]), ('items', 'own')]"],
    [
      "{{ mapping['items'] }} {{ mapping.get('x') }} {{ mapping.get('x', 'y') }} {{ mapping.keys() | list }}",
      "own None y ['b', 'a', 'items']",
    ],
    ['{% for k in mapping %}{{ k }},{% endfor %}{% for c in "ab" %}{{ c }},{% endfor %}', 'b,a,items,a,b,'],
    ['{% for x in missing %}x{% else %}none{% endfor %}', 'none'],
    ["{{ nested | map(attribute='n') | list }} {{ ['a', 'b'] | map('upper') | join('+') }}", '[1, 2, 3] A+B'],
    ["{{ nested | selectattr('role', 'equalto', 'user') | map(attribute='n') | list }}", '[1, 3]'],
    [
      "{{ nested | rejectattr('role', 'in', ['user']) | list | length }} {{ ['a', 'b'] | reject('equalto', 'a') | list }}",
      "1 ['b']",
    ],
    [
      '{{ [1, 2] == [1, 2] }} {{ 1 == 1.0 }} {{ 1 == "1" }} {{ {"a": 1} == {"a": 1} }} {{ none == missing }}',
      'True True False True False',
    ],
    [
      '{{ [1, [2]] + [3] }} {{ [2] in [1, [2]] }} {{ "b" in mapping }} {{ 1 in missing }}',
      '[1, [2], 3] True True False',
    ],
    ['{{ nested | first }} {{ [] | last }}| {{ [1, 2] | reverse | list }}', "{'role': 'user', 'n': 1} | [2, 1]"],
    ["{{ missing | default('x') }} {{ '' | default('y', true) }} {{ none | default('z') }}", 'x y None'],
    ['{{ missing | trim }}|{{ none | lower }}|{{ missing | length }}|{{ missing | items | list }}', '|none|0|[]'],
    ['{{ list[1:3] }} {{ list[-2:] }} {{ [1, 2, 3][::-1] }}', "[1, 2.5] [True, {'k': 'v'}] [3, 2, 1]"],
    [
      "{{ ['b', 'A'] | sort }} {{ nested | sort(attribute='role,n', reverse=true) | map(attribute='n') | list }}",
      "['A', 'b'] [3, 1, 2]",
    ],
    [
      "{{ {'B': 1, 'a': 0} | dictsort }} {{ [1, 2, 1] | unique }} {{ nested | sum(attribute='n') }}",
      "[('a', 0), ('B', 1)] [1, 2] 6",
    ],
    ['{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ (1, 2) < (1, 3) }} {{ not 1 in [1] }}', 'True False True False'],
    [
      "{{ none | map('upper') | list }} {{ missing | selectattr('x') | list }} {{ 2.0 is even }} {{ true | abs }}",
      '[] [] True 1',
    ],
    ['{{ dict(a=1) }} {{ range(5, 0, -2) }} {{ {1: 2}[1] }}', "{'a': 1} [5, 3, 1] 2"],
  ])('%s', (source, expected) => expect(render(source)).toBe(expected))
})

describe('tests and undefined values', () => {
  it.each([
    [
      '{{ mapping is iterable }} {{ "a" is iterable }} {{ 1 is iterable }} {{ mapping is sequence }}',
      'True True False True',
    ],
    [
      '{{ true is number }} {{ true is integer }} {{ two is float }} {{ none is none }} {{ missing is defined }}',
      'True False True True False',
    ],
    [
      '{{ mapping.x is defined }} {{ mapping is mapping }} {{ list is mapping }} {{ list is string }}',
      'False True False False',
    ],
  ])('%s', (source, expected) => expect(render(source)).toBe(expected))

  it.each([
    '{{ missing.x }}',
    "{{ missing['x'] }}",
    "{{ 'a' + missing }}",
    "{{ 'a' + 1 }}",
    "{{ 'a' + none }}",
    "{{ 'a' + list }}",
    "{{ '%s' % ('a', 'b') }}",
    '{{ none[1:] }}',
    '{{ missing | indent }}',
  ])('are refused: %s', (source) => expect(() => render(source)).toThrow())
})

describe('statements', () => {
  it.each([
    [
      'each round has a scope of its own',
      '{% for i in [1, 2] %}{{ x }}{% set x = i %}{{ x }},{% endfor %}{{ x }}',
      '1,2,',
    ],
    [
      'what was written before a break or a continue stays',
      '{% for i in [1, 2, 3] %}{{ i }}{% if i == 1 %}{% continue %}{% endif %}-{% break %}{% endfor %}',
      '12-',
    ],
    [
      'loops know where they are',
      '{% for i in ["a", "b"] %}{{ loop.index }}{{ loop.first }}{{ loop.previtem }}{{ loop.cycle("x", "y") }}{{ loop.changed(i) }} {% endfor %}',
      '1TruexTrue 2FalseayTrue ',
    ],
    ['pairs are taken apart', '{% for k, v in {"a": 1}.items() %}{{ k }}{{ v }}{% endfor %}', 'a1'],
    ['loops may choose', '{% for i in [1, 2, 3] if i != 2 %}{{ loop.index }}{{ i }} {% endfor %}', '11 23 '],
    [
      'macros write text',
      '{% macro m(x, y="d") %}[{{ x }}{{ y }}]{% endmacro %}{{ m(1) }}{{ m(none, y=2) }}',
      '[1d][None2]',
    ],
    [
      'blocks are filtered and set',
      '{% filter upper %}a{{ 1 }}{% endfilter %}{% set t %}x{{ none }}{% endset %}{{ t }}',
      'A1xNone',
    ],
    ['line ends are one character', '{% if yes %}\r\na\r\n{% endif %}\r\nb\r\n', 'a\nb'],
    [
      'namespaces are written across rounds',
      '{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}',
      '3',
    ],
    [
      'call blocks are given to macros',
      '{% macro m(a) %}[{{ a }}{{ caller("q") }}]{% endmacro %}{% call(x) m(1) %}<{{ x }}>{% endcall %}',
      '[1<q>]',
    ],
    ['with has a scope of its own', '{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}', '3'],
    ['raw text is text', 'a {%- raw %} {{ x }} {% endraw -%} b', 'a {{ x }} b'],
    ['tags on lines of their own leave no line', ' {% if yes %}\n a\n {#- b #}\n {% endif +%}\nc', ' a\nc'],
    ['a plus keeps space', ' {%+ if yes %}a{% endif +%}\nb', ' a\nb'],
    ['assignments take tuples apart', '{% set a, (b, c) = 1, [2, 3] %}{{ a }}{{ b }}{{ c }}', '123'],
    ['marks of generation write nothing', 'a {%- generation %} b{% endgeneration -%} c', 'a bc'],
  ])('%s', (_, source, expected) => expect(render(source)).toBe(expected))
})
