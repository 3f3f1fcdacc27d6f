import { describe, expect, it } from 'vitest'
import { parseFormula } from '../../lib/graders/formula.js'
import { AnswerGrader, type AskModel, type ProgramGrader } from '../../lib/graders/grade.js'
import { GraderField } from '../../lib/graders/grader.js'
import { SIMILARITIES, type SimilarityName } from '../../lib/graders/similarity.js'
import golden from '../golden/similarities.json' with { type: 'json' }

const sampleOf = (text: string, more: object = {}) => ({
  output_text: text,
  output_json: undefined as unknown,
  output_tools: [] as unknown[],
  choices: [] as unknown[],
  ...more,
})
const nobody: AskModel = () => Promise.reject(new Error('not asked'))
const told: unknown[] = []
const programs: Readonly<Record<string, ProgramGrader>> = {
  half: () => 0.5,
  long: async ({ item, sample }) => sample.output_text.length / Number(item.length),
  none: () => Number.NaN,
  failing: () => {
    throw new Error('secret')
  },
}
const reward = async (grader: object, item: Record<string, unknown>, sample = sampleOf('Paris'), ask = nobody) =>
  new AnswerGrader(GraderField.parse(grader)).grade(
    { item, sample },
    { ask, programs, onError: (error) => told.push(error) },
  )

describe('text similarity', () => {
  it.each(golden.pairs)('of $input and $reference is as rapidfuzz, nltk and rouge-score compute it', (pair) => {
    for (const [name, score] of Object.entries(pair.scores)) {
      expect(SIMILARITIES[name as SimilarityName](pair.input, pair.reference), name).toBeCloseTo(score, 12)
    }
  })

  it('of long texts takes no whole table', () => {
    const [text, reference] = ['ab'.repeat(2 ** 13), 'ba'.repeat(2 ** 13)]
    expect(SIMILARITIES.fuzzy_match(text, reference)).toBe(1 - 1 / 2 ** 14)
  })
})

describe('formulas', () => {
  it.each([
    ['1 + 2 * 3 ^ 2', 19],
    ['-2 ^ 2', -4],
    ['2 ^ -1 ^ 2', 0.5],
    ['2 ^ 3 ^ 2', 512],
    ['(a + b) / 2 - -1', 1.75],
    ['min(a, b, 0.1) + max(3, a)', 3.1],
    ['abs(-1.5) + floor(1.5) + ceil(1.2) + sqrt(16)', 8.5],
    ['log(exp(2)) + 1e-1 + .5', 2.6],
  ])('%s is %f', (text, value) => {
    expect(parseFormula(text, ['a', 'b'])({ a: 0.5, b: 1 })).toBeCloseTo(value, 12)
  })

  it.each([
    ['', 'it ends'],
    ['a +', 'it ends'],
    ['a b', '"b" came at character 3'],
    ['c', 'one of a, b, min'],
    ['constructor', 'one of a, b, min'],
    ['a.b', '"." came at character 2'],
    ['abs(a, b)', '"," came at character 6'],
    ['min()', '")" came at character 5'],
    ['process.exit()', 'one of a, b'],
    ['min a', '"(" after min was expected'],
    [`${'('.repeat(100)}a${')'.repeat(100)}`, 'more than 64 levels'],
    ['-'.repeat(100), 'more than 64 levels'],
    [`a${'^a'.repeat(100)}`, 'more than 64 levels'],
    ['a+'.repeat(600), 'more than 1024 characters'],
  ])('%s is refused', (text, problem) => {
    expect(() => parseFormula(text, ['a', 'b'])).toThrow(problem)
  })
})

describe('graders', () => {
  const check = (operation: string, input: string, reference: string) => ({
    type: 'string_check',
    name: 'check',
    operation,
    input,
    reference,
  })

  it.each([
    ['eq', 'Paris', 1],
    ['eq', 'paris', 0],
    ['ne', 'paris', 1],
    ['like', 'ari', 1],
    ['like', 'ARI', 0],
    ['ilike', 'ARI', 1],
  ])('string_check %s %s is %d', async (operation, reference, score) => {
    const result = await reward(check(operation, '{{sample.output_text}}', '{{ item.answer }}'), { answer: reference })
    expect(result).toEqual({ score, scores: { check: { score } } })
  })

  it('read what is in rows and answers', async () => {
    const item = { a: { 'b c': [1, { d: 'x' }] }, flag: true, _e: 'E' }
    const sample = sampleOf('{"n": [3]}', { output_json: { n: [3] }, output_tools: [{ function: { name: 'f' } }] })
    const path = `{{item.a["b c"][1].d}}{{ item.a['b c'][0] }}{{item.flag}}{{item._e}}{{sample.output_json.n}}{{sample.output_tools[0].function.name}} {`
    expect(await reward(check('eq', path, 'x1trueE[3]f {'), item, sample)).toMatchObject({ score: 1 })
  })

  it('give 0, and say why, for what is not there', async () => {
    const missing = await reward(check('ne', '{{item.toString}}', 'x'), {})
    expect(missing).toMatchObject({
      score: 0,
      error: { name: 'invalid_variable_error', message: 'there is no {{item.toString}}' },
    })
    const noJson = await reward(check('ne', '{{sample.output_json.a}}', 'x'), {})
    expect(noJson).toMatchObject({ score: 0, error: { name: 'sample_parse_error' } })
    const long = { type: 'text_similarity', evaluation_metric: 'bleu', input: '{{item.a}}', reference: 'a' }
    const tooLong = { score: 0, error: { name: 'other_error' } }
    expect(await reward(long, { a: 'a'.repeat(40_000) })).toMatchObject(tooLong)
    const repeated = check('eq', '{{item.a}}'.repeat(6000), 'a')
    expect(await reward(repeated, { a: { b: 'a'.repeat(2 ** 20) } })).toMatchObject(tooLong)
  })

  const verdict = { type: 'score_model', name: 'judge', model: 'm', range: [0, 5] }
  const asked = { ...verdict, input: [{ role: 'user', content: 'Is {{sample.output_text}} right?' }] }
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 }

  it('ask models, whose result is cut to the range', async () => {
    let body: Readonly<Record<string, unknown>> = {}
    const ask: AskModel = async (given) => {
      body = given
      return { text: '{"result": 7, "steps": []}', usage }
    }
    expect(await reward(asked, {}, sampleOf('Paris'), ask)).toMatchObject({ score: 5, usage })
    expect(body).toMatchObject({ model: 'm', temperature: 0, messages: [{ role: 'user', content: 'Is Paris right?' }] })
    const silent: AskModel = async () => ({ text: '{"result": ', usage })
    expect(await reward(asked, {}, sampleOf('Paris'), silent)).toMatchObject({
      score: 0,
      error: { name: 'model_grader_parse_error' },
    })
  })

  it('are functions of the program', async () => {
    const program = (name: string) => reward({ type: 'program', name }, { length: 10 })
    expect(await program('long')).toMatchObject({ score: 0.5 })
    const failed = (message: string) => ({ score: 0, error: { name: 'other_error', message } })
    expect(await program('none')).toMatchObject(failed('none returned no finite number'))
    expect(await program('toString')).toMatchObject(failed('toString is no grader of this server'))
    expect(told).toEqual([])
    expect(await program('failing')).toMatchObject(failed("failing failed; the server's log says why"))
    expect(told).toEqual([new Error('secret')])
    const graders = { half: { type: 'program', name: 'half' }, one: check('eq', 'a', 'a') }
    expect(await reward({ type: 'multi', graders, calculate_output: 'half + one' }, {})).toMatchObject({ score: 1.5 })
  })

  it('are joined by a formula', async () => {
    const graders = {
      name: { type: 'text_similarity', input: 'Paris', reference: 'Pariz', evaluation_metric: 'fuzzy_match' },
      exact: check('eq', 'a', '{{item.a}}'),
    }
    const multi = { type: 'multi', graders, calculate_output: '(name + exact) / 2' }
    expect(await reward(multi, { a: 'a' })).toMatchObject({ score: 0.9, scores: { exact: { score: 1 } } })
    const divided = { ...multi, calculate_output: '1 / (exact - 1)' }
    expect(await reward(divided, { a: 'a' })).toMatchObject({ score: 0, error: { name: 'formula_parse_error' } })
    const single = { type: 'multi', graders: check('eq', 'a', 'a'), calculate_output: 'check * 2' }
    expect(await reward(single, {})).toMatchObject({ score: 2 })
  })

  const fine = check('eq', 'a', 'b')
  it.each<[object | string, string, string]>([
    ['text', '', 'a grader, an object'],
    [{}, 'type', 'one of string_check, text_similarity, score_model, program, multi'],
    [{ type: 'toString' }, 'type', 'one of string_check'],
    [{ type: 'python', source: 'x' }, 'type', 'graders of its own'],
    [{ type: 'label_model' }, 'type', 'ask score_model'],
    [{ type: 'endpoint' }, 'type', 'asks other servers'],
    [{ ...fine, operation: 'is' }, 'operation', 'one of eq, ne, like, ilike'],
    [{ ...fine, input: 3 }, 'input', 'a text'],
    [{ ...fine, input: 'x'.repeat(2 ** 17) }, 'input', 'at most 65536'],
    [{ ...fine, input: '{{ foo }}' }, 'input', '{{ foo }} is no variable'],
    [{ ...fine, input: '{{ a\nb }}' }, 'input', '({{ a b }} is no variable'],
    [{ ...fine, reference: '{{ sample.output_audio }}' }, 'reference', 'no variable'],
    [{ ...fine, reference: '{{ item }}' }, 'reference', 'no variable'],
    [{ ...fine, reference: '{{ item.a b }}' }, 'reference', 'no variable'],
    [{ ...fine, threshold: 1 }, 'threshold', 'nothing (the fields are'],
    [
      { type: 'text_similarity', input: 'a', reference: 'b', evaluation_metric: 'meteor' },
      'evaluation_metric',
      'WordNet',
    ],
    [
      { type: 'text_similarity', input: 'a', reference: 'b', evaluation_metric: 'cosine' },
      'evaluation_metric',
      'embeddings',
    ],
    [{ ...asked, range: [1, 0] }, 'range', 'the least and the greatest'],
    [{ ...asked, input: [] }, 'input', '1 to 64 messages'],
    [{ ...asked, input: [{ role: 'user', content: [{ type: 'input_image' }] }] }, 'input.0.content', 'input_text'],
    [{ ...asked, sampling_params: { top_k: 1 } }, 'sampling_params.top_k', 'nothing'],
    [{ type: 'multi', graders: {}, calculate_output: '1' }, 'graders', '1 to 32 graders'],
    [{ type: 'multi', graders: { min: fine }, calculate_output: '1' }, 'graders.min', 'no function'],
    [{ type: 'multi', graders: { a: { type: 'multi' } }, calculate_output: '1' }, 'graders.a.type', 'in no other'],
    [
      { type: 'multi', graders: { a: { ...fine, operation: 1 } }, calculate_output: 'a' },
      'graders.a.operation',
      'one of eq',
    ],
    [{ type: 'multi', graders: { a: fine }, calculate_output: 'b' }, 'calculate_output', 'one of a, min'],
  ])('%j is refused by its field', (grader, path, message) => {
    const issue = GraderField.safeParse(grader).error?.issues[0]
    expect(issue?.path.join('.')).toBe(path)
    expect(issue?.message).toContain(message)
  })
})
