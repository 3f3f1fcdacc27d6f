/**
 * The data of the experiments: sets of the Hugging Face hub, by id, and rows that this project generates. `sample` makes a row with
 * the columns and the form of the real set, so that every experiment runs without it (`--tiny`).
 */
import { randomFacts } from '../../bench/common/internals.mjs'
import { chatRows, choiceRows } from './tasks/instruct.mjs'
import { baseTexts } from './tasks/language.mjs'
import { mathRows } from './tasks/math.mjs'
import { newLanguage } from './tasks/new-language.mjs'
import { take } from './tasks/take.mjs'

/**
 * @typedef HubSet
 * @property {string} name of a file or folder in `--data`, without extension
 * @property {string | string[]} id
 * @property {string} licence
 * @property {(i: number) => Record<string, unknown>} sample
 */
/**
 * @typedef GeneratedSet
 * @property {string} name
 * @property {number} count of rows
 * @property {(count: number, seed: number) => object[]} rows `seed` is the run's
 */
/** @typedef {(HubSet | GeneratedSet) & { count?: number }} Set `count` of samples, if they stand for the set */

/** @returns {HubSet} */
const onHub = (name, id, licence, sample) => ({ name, id, licence, sample })
/** @returns {GeneratedSet} */
const generated = (name, count, rows) => ({ name, count, rows })

// Mathematics
export const metaMath = onHub('metamathqa', 'meta-math/MetaMathQA', 'MIT', (i) => ({
  type: 'GSM_Rephrased',
  query: `Ada has ${i} cups and buys 2. How many cups has she?`,
  original_question: `Ada has ${i} cups and buys 2. How many?`,
  response: `She has ${i} + 2 = ${i + 2} cups.\n#### ${i + 2}\nThe answer is: ${i + 2}`,
}))
const gsm8kRow = (i) => ({
  question: `Bruno has ${i} keys and finds 3. How many keys has he?`,
  answer: `He has ${i} + 3 = <<${i}+3=${i + 3}>>${i + 3} keys.\n#### ${i + 3}`,
})
export const gsm8kTrain = onHub('gsm8k-train', 'openai/gsm8k:main:train', 'MIT', gsm8kRow)
export const gsm8kTest = onHub('gsm8k-test', 'openai/gsm8k:main:test', 'MIT', gsm8kRow)
const MATH_SUBJECTS = [
  'algebra',
  'counting_and_probability',
  'geometry',
  'intermediate_algebra',
  'number_theory',
  'prealgebra',
  'precalculus',
]
export const mathTest = onHub(
  'math-test',
  MATH_SUBJECTS.map((subject) => `EleutherAI/hendrycks_math:${subject}:test`),
  'MIT',
  (i) => ({
    problem: `What is $\\frac{${i}}{2}$?`,
    level: 'Level 1',
    type: 'Prealgebra',
    solution: `It is $\\boxed{\\frac{${i}}{2}}$.`,
  }),
)
export const wordProblems = generated('word-problems', 4000, (count) => mathRows(count, 30))
export const newWordProblems = generated('new-word-problems', 200, (count) => mathRows(count, 31))

// Instructions
export const tulu = onHub('tulu-v2', 'allenai/tulu-v2-sft-mixture', 'ODC-By', (i) => ({
  dataset: 'flan_v2',
  id: `flan_v2_${i}`,
  messages: [
    { role: 'user', content: `Write ${i} twice.` },
    { role: 'assistant', content: `${i} ${i}` },
  ],
}))
export const alpaca = onHub('alpaca', 'tatsu-lab/alpaca', 'CC BY-NC 4.0', (i) => ({
  instruction: 'Write the number twice.',
  input: `${i}`,
  output: `${i} ${i}`,
  text: `### Instruction:\nWrite the number twice.\n\n### Input:\n${i}\n\n### Response:\n${i} ${i}`,
}))
const mmluRow = (i) => ({
  question: `Which number follows ${i}?`,
  subject: i % 2 === 0 ? 'elementary_mathematics' : 'college_biology',
  choices: [`${i + 1}`, `${i + 2}`, `${i + 3}`, `${i + 4}`],
  answer: 0,
})
export const mmluTest = onHub('mmlu-test', 'cais/mmlu:all:test', 'MIT', mmluRow)
/** MMLU's solved examples: its shots. */
export const mmluDev = onHub('mmlu-dev', 'cais/mmlu:all:dev', 'MIT', mmluRow)
export const conversations = generated('conversations', 8000, (count) => chatRows(count, 40))
export const newConversations = generated('new-conversations', 200, (count) => chatRows(count, 41))
export const questions = generated('questions', 400, (count) => choiceRows(count, 42))
export const solvedQuestions = generated('solved-questions', 200, (count) => choiceRows(count, 43))

// Continual pretraining. The paper's own preparation of abstracts and news is not published; these are open sets of the same kinds.
const MEDICAL_SUBJECTS = [
  'anatomy',
  'clinical_knowledge',
  'college_biology',
  'college_medicine',
  'medical_genetics',
  'professional_medicine',
]
export const pubmed = onHub('pubmed', 'MedRAG/pubmed', 'NLM terms', (i) => ({
  id: `pubmed23n0001_${i}`,
  title: 'Iron and fatigue.',
  content: `In ${i} adults with fatigue, iron helped.`,
  contents: `Iron and fatigue. In ${i} adults with fatigue, iron helped.`,
  PMID: i,
}))
export const financialNews = onHub('financial-news', 'ashraq/financial-news-articles', 'not stated', (i) => ({
  title: 'Sales rise',
  text: `Nordvik's net sales rose by ${i} % in the first quarter.`,
  url: `https://example.org/${i}`,
}))
export const pubmedQa = onHub('pubmedqa', 'qiaojin/PubMedQA:pqa_labeled', 'MIT', (i) => ({
  pubid: i,
  question: `Does walking help after ${i} weeks?`,
  context: {
    contexts: ['Adults walked daily.', 'Pain scores fell.'],
    labels: ['METHODS', 'RESULTS'],
    meshes: ['Humans'],
  },
  long_answer: 'See above.',
  final_decision: ['yes', 'no', 'maybe'][i % 3],
}))
export const usmle = onHub('usmle', 'GBaker/MedQA-USMLE-4-options', 'CC BY 4.0', (i) => ({
  question: `A patient of ${i} years lacks iron. Which supplement is the first choice?`,
  answer: 'Iron',
  options: { A: 'Iron', B: 'Iodine', C: 'Zinc', D: 'Vitamin A' },
  meta_info: 'step1',
  answer_idx: 'A',
}))
export const bioMmlu = onHub(
  'biommlu',
  MEDICAL_SUBJECTS.map((subject) => `cais/mmlu:${subject}:test`),
  'MIT',
  mmluRow,
)
const adaptLlm = (name, part, licence, more) => onHub(name, `AdaptLLM/${part}`, licence, (i) => ({ id: i, ...more(i) }))
export const rct = adaptLlm('rct', 'medicine-tasks:RCT:test', 'not stated', (i) => ({
  input: `Sentence: ${i} patients were randomised. The role of this sentence is`,
  options: ['background', 'methods', 'results'],
  gold_index: 1,
}))
const news = (i) => ({
  input: `News: sales rose by ${i} %. This is`,
  options: ['good news', 'bad news', 'neither'],
  gold_index: i % 3,
})
export const fpb = adaptLlm('fpb', 'finance-tasks:FPB:test', 'CC BY-NC-SA 3.0', news)
export const fiqa = adaptLlm('fiqa', 'finance-tasks:FiQA_SA:test', 'not stated', news)
export const headline = adaptLlm('headline', 'finance-tasks:Headline:test', 'CC BY-SA 3.0', (i) => ({
  class_id: i % 9,
  input: `Headline: "Gold rises ${i} dollars" Does it talk about a price going up?`,
  options: ['No', 'Yes'],
  gold_index: i % 2,
}))
export const ner = adaptLlm('ner', 'finance-tasks:NER:test', 'CC BY 3.0', (i) => ({
  input: `Sentence: Nordvik sold ${i} ships to Anna.\nEntities:`,
  label: 'Nordvik (ORG), Anna (PER)',
}))
export const convFinQa = adaptLlm('convfinqa', 'finance-tasks:ConvFinQA:test', 'MIT', (i) => ({
  input: `Sales were ${i} in 2020 and ${2 * i} in 2021. What was the ratio?\nAnswer:`,
  label: '2.0',
}))

// Language
const shakespeareRow = (i) => ({ text: `First Citizen:\nSpeak ${i} times.\n\nAll:\nSpeak, speak.` })
const shakespeareId = 'karpathy/tiny_shakespeare@refs/convert/parquet'
export const shakespeareTrain = onHub('shakespeare-train', `${shakespeareId}:train`, 'public domain', shakespeareRow)
export const shakespeareTest = onHub('shakespeare-test', `${shakespeareId}:validation`, 'public domain', shakespeareRow)
const c4Row = (i) => ({
  text: `Beginners BBQ class, number ${i}, takes place in Missoula.`,
  timestamp: '2019-04-25T12:57:54Z',
  url: `https://example.org/${i}`,
})
const shard = (part, i, of) => `allenai/c4/en/c4-${part}.${`${i}`.padStart(5, '0')}-of-${of}.json.gz`
/** 5.2 billion tokens are trained on; a shard has about 170 million. */
export const c4Train = onHub(
  'c4-train',
  Array.from({ length: 32 }, (_, i) => shard('train', i, '01024')),
  'ODC-By',
  c4Row,
)
export const c4Test = onHub('c4-test', shard('validation', 0, '00008'), 'ODC-By', c4Row)
export const newTexts = generated('new-language', 4000, (count) => take(newLanguage(60), count))
export const heldTexts = generated('new-language-held-back', 60, (count) => take(newLanguage(61), count))
export const knownTexts = generated('known-language', 200, (count) => take(baseTexts(50), count))

/** Pairs of random UUIDs, which nothing but memory can tell (section 3 of the paper); others for each seed. */
export const pairs = (count) => generated('pairs', count, (count, seed) => randomFacts(count, 20 + seed))
