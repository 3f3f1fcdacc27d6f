/** GSM8K (Cobbe et al. 2021): rows `question`, `answer`, whose answer ends in `#### 18`. */
import { malformedRow } from '../../data/rows/check.js'
import { strip } from '../../data/templates/jinja/methods.js'
import { canonicalNumber, expectedAnswer, extractAnswer, isSameAnswer } from '../answers.js'
import { accuracy, meanOf } from '../measures.js'
import type { TextTask } from '../text-task.js'
import { metamathNumber } from './metamath.js'

export const GSM8K_STRICT = /#### (-?[0-9.,]+)/
/** The last dot of lm-evaluation-harness's pattern is not escaped, so that a digit at the end of a text is lost. */
export const GSM8K_COT_STRICT = /The answer is (-?[0-9.,]+)./

interface Variant extends Pick<TextTask, 'question' | 'until'> {
  /** The pattern of the harness's strict filter. */
  strict: RegExp
  /** Returns what the harness compares with. */
  target(solution: string): string
}

const gsm8k = ({ strict, target, ...prompt }: Variant): TextTask => ({
  kind: 'text',
  ...prompt,
  maxNewTokens: 512,
  reference({ answer }, where) {
    const expected = expectedAnswer(answer)
    if (canonicalNumber(expected) !== null) return expected
    throw malformedRow(where, 'expected an answer that is a number, or ends in #### and a number')
  },
  score({ text, answer, solution }) {
    const extracted = extractAnswer(text)
    return {
      extracted,
      score: Number(extracted !== null && isSameAnswer(extracted, answer)),
      strict: Number(isExactMatch(strictMatch(text, strict), target(solution))),
      flexible: Number(isExactMatch(flexibleExtract(text), target(solution))),
      metamath: Number(metamathNumber(text) === Number(canonicalNumber(answer))),
    }
  },
  summarise: (entries) => ({
    ...accuracy(entries),
    strict: meanOf(entries, 'strict'),
    flexible: meanOf(entries, 'flexible'),
    metamath: meanOf(entries, 'metamath'),
  }),
})

export const gsm8kTask = gsm8k({
  question: (question) => `Question: ${question}\nAnswer:`,
  until: ['Question:', '</s>', '<|im_end|>'],
  strict: GSM8K_STRICT,
  target: (solution) => solution,
})

export const gsm8kCotTask = gsm8k({
  question: (question) => `Q: ${question}\nA:`,
  until: ['Q:', '</s>', '<|im_end|>'],
  strict: GSM8K_COT_STRICT,
  target: (solution) => strip(solution.split('####').at(-1)!),
})

/** What lm-evaluation-harness's filters return where they find nothing. */
const INVALID = '[invalid]'

/** Its filter `strict-match`: the first match. */
export const strictMatch = (text: string, pattern: RegExp): string => strip(pattern.exec(text)?.[1] ?? INVALID)

/** Its filter `flexible-extract`: the last number, or run of two digits, signs and dots. */
export function flexibleExtract(text: string): string {
  return strip([...text.matchAll(/-?[$0-9.,]{2,}|-?[0-9]+/g)].at(-1)?.[0] ?? INVALID)
}

/** Its metric `exact_match` of these tasks: the texts are equal after commas, dollars, a solution and a last dot are removed from both. */
function isExactMatch(extracted: string, reference: string): boolean {
  const [a, b] = [extracted, reference].map((text) =>
    [/,/g, /\$/g, /[\s\S]*#### /g, /\.(?=\n?$)/g]
      .reduce((rest, ignored) => rest.replace(ignored, ''), text)
      .toLowerCase(),
  )
  return a === b
}
