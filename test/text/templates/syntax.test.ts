/** Templates that are not valid Jinja are refused with the line and what was expected. */
import { describe, expect, it } from 'vitest'
import { TemplateProgram } from '../../../lib/text/templates/compiled-template.js'

const refusal = (source: string): string => {
  try {
    new TemplateProgram(source)
  } catch (error) {
    return (error as Error).message
  }
  return 'none'
}

describe('a syntax error', () => {
  it.each([
    ['{{ a', 'line 1: expected }} but the template ends'],
    ['{{ }}', 'line 1: expected an expression but found }}'],
    ['a\n{{ a b }}', 'line 2: expected }} but found b'],
    ['{{ (\n\na, b }}', 'line 3: expected ) for the ( of line 1 but found }'],
    ['{{ [1 2] }}', 'line 1: expected , or ] but found 2'],
    ['{{ {"a" 1} }}', 'line 1: expected : but found 1'],
    ['{{ a[] }}', 'line 1: expected a key but found ]'],
    ['{{ a. }}', 'line 1: expected a name but found }}'],
    ['{{ a | 1 }}', 'line 1: expected a name but found 1'],
    ['{{ f(a=) }}', 'line 1: expected an expression but found )'],
    ["a\n{{ 'a }}", "line 2: expected ' at the end of a string but the template ends"],
    ['{{ a ? b }}', 'line 1: unexpected character "?"'],
    ['a\r\n{# b', 'line 2: expected #} but the template ends'],
    ['{% raw %}', 'line 1: expected {% endraw %} but the template ends'],
    ['{% if a %}\nb', 'line 2: expected {% elif %} or {% else %} or {% endif %} but the template ends'],
    ['{% if %}', 'line 1: expected an expression but found %}'],
    ['{% for a of b %}', 'line 1: expected in but found of'],
    ['{% for a in b %}\n{% endif %}', 'line 2: expected {% else %} or {% endfor %} or another tag but found endif'],
    ['{% endif %}', 'line 1: expected a tag but found endif'],
    ['{% include "a" %}', 'line 1: expected a tag but found include'],
    ['{% set a b %}', 'line 1: expected = or %} but found b'],
    ['{% set 1 = a %}', 'line 1: expected a name but found 1'],
    ['{% macro m(1) %}', 'line 1: expected a name but found 1'],
    ['{% generation %}\n\na', 'line 3: expected {% endgeneration %} but the template ends'],
  ])('%j', (source, message) => expect(refusal(source)).toBe(message))
})

it('valid Jinja is not an error', () => {
  expect(
    refusal('{{ {"a": {"b": {}}}["a"] }}{{ (1,) }}{% for (a, b), c in d if e %}{% endfor %}{{ x is not in [1] }}'),
  ).toBe('none')
})
