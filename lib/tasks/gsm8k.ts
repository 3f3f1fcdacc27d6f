/** GSM8K (Cobbe et al. 2021): rows `question`, `answer`, whose answer ends in `#### 18`. */
import { malformedRow } from '../rows/check.js'
import { strip } from '../text/python/methods.js'
import { canonicalNumber, expectedAnswer, extractAnswer, isSameAnswer } from './answers.js'
import { accuracy, meanBy } from './measures.js'
import { metamathNumber } from './metamath.js'
import { type AnswerTask, questionRows } from './task.js'

export const GSM8K_STRICT = /#### (-?[0-9.,]+)/
/** The last dot of lm-evaluation-harness's pattern is not escaped, so that a digit at the end of a text is lost. */
export const GSM8K_COT_STRICT = /The answer is (-?[0-9.,]+)./

/** @param strict the pattern of the harness's strict filter */
const gsm8kTask = (
  strict: RegExp,
  question: (prompt: string) => string,
  until: readonly string[],
  target: (solution: string) => string,
) =>
  ({
    rows: questionRows(({ answer }, where) => {
      const expected = expectedAnswer(answer)
      if (canonicalNumber(expected) !== null) return expected
      throw malformedRow(where, 'expected an answer that is a number, or ends in #### and a number')
    }),
    prompt: { question },
    answer: {
      until,
      maxNewTokens: 512,
      judge({ text, answer, solution }) {
        const extracted = extractAnswer(text)
        return {
          extracted,
          score: Number(extracted !== null && isSameAnswer(extracted, answer)),
          strict: Number(isExactMatch(strictMatch(text, strict), target(solution))),
          flexible: Number(isExactMatch(flexibleExtract(text), target(solution))),
          metamath: Number(metamathNumber(text) === Number(canonicalNumber(answer))),
        }
      },
    },
    measures: {
      ...accuracy,
      /** Share of right rows by the filter `strict-match` of lm-evaluation-harness. */
      strict: meanBy('strict'),
      /** Share of right rows by the filter `flexible-extract`. */
      flexible: meanBy('flexible'),
      /** Share of right rows by MetaMath's rule. */
      metamath: meanBy('metamath'),
    },
  }) satisfies AnswerTask

export const gsm8k = gsm8kTask(
  GSM8K_STRICT,
  (question) => `Question: ${question}\nAnswer:`,
  ['Question:', '</s>', '<|im_end|>'],
  (solution) => solution,
)

export const gsm8kCot = gsm8kTask(
  GSM8K_COT_STRICT,
  (question) => `Q: ${question}\nA:`,
  ['Q:', '</s>', '<|im_end|>'],
  (solution) => strip(solution.split('####').at(-1)!),
)

/** The result of lm-evaluation-harness's filters where they find nothing. */
const INVALID = '[invalid]'

/** lm-evaluation-harness's filter `strict-match`: the first match. */
export const strictMatch = (text: string, pattern: RegExp): string => strip(pattern.exec(text)?.[1] ?? INVALID)

/** lm-evaluation-harness's filter `flexible-extract`: the last number, or run of two digits, signs and dots. */
export function flexibleExtract(text: string): string {
  return strip([...text.matchAll(/-?[$0-9.,]{2,}|-?[0-9]+/g)].at(-1)?.[0] ?? INVALID)
}

/** lm-evaluation-harness's metric `exact_match` of these tasks: the texts are equal without commas, dollars, a solution and a last dot. */
function isExactMatch(extracted: string, reference: string): boolean {
  const [a, b] = [extracted, reference].map((text) =>
    [/,/g, /\$/g, /[\s\S]*#### /g, /\.(?=\n?$)/g]
      .reduce((rest, ignored) => rest.replace(ignored, ''), text)
      .toLowerCase(),
  )
  return a === b
}
