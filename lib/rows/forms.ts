/**
 * The known forms of rows: the columns that a data set or a tool writes, with their roles. `--columns` names the columns of any
 * other row.
 */

/** Roles of columns in texts, prompts and questions, and beside all other rows; kinds of rows have further ones of their own. */
export const TEXT_PARTS = [
  'text',
  'prompt',
  'input',
  'completion',
  'messages',
  'system',
  'history',
  'tools',
  'choices',
  'answer',
  'subject',
  'input_ids',
  'labels',
  'weight',
] as const

/** The role of a column: one of `TEXT_PARTS`, or one of a kind's own. */
export type RowPart<Own extends string = never> = (typeof TEXT_PARTS)[number] | Own

/**
 * Columns by the parts of a row that they have, in order: texts are joined by a space, and choices follow one another. `a.b` is the
 * key b of a.
 */
type ColumnsOfParts<Own extends string> = string extends Own
  ? Readonly<Record<string, readonly string[]>>
  : Readonly<Partial<Record<RowPart<Own>, readonly string[]>>>

/** @typeParam Own parts of a kind's own */
export interface RowForm<Own extends string = string> {
  /** The form's name in messages, in `--json` and in the docs. */
  readonly name: string
  /** Tools and data sets that write this form. */
  readonly madeFor: string
  /** Use of such rows: the trained part, or the task. */
  readonly use: string
  /** Columns that identify the form: a row has the form if it has all of them and no earlier form fits. */
  readonly columns: ColumnsOfParts<Own>
  /** Optional columns; for each role the first existing column counts. */
  readonly optional?: ColumnsOfParts<Own>
  /** The choices of every row, if no column has them. */
  readonly fixedChoices?: readonly string[]
  /** Whether the choices continue the prompt directly, which is then no question. */
  readonly continues?: true
}

/** Returns a function that makes the forms of one use. */
export const formsFor =
  <Own extends string>(use: string) =>
  (
    name: string,
    madeFor: string,
    columns: RowForm<Own>['columns'],
    optional?: RowForm<Own>['optional'],
  ): RowForm<Own> => ({
    name,
    madeFor,
    use,
    columns,
    ...(optional && { optional }),
  })

/** Optional columns of a conversation; for each role the first existing column counts. */
export const CONVERSATION_COLUMNS = {
  system: ['system', 'system_prompt'],
  history: ['history'],
  tools: ['tools', 'functions', 'toolConfig'],
} as const satisfies Partial<Record<RowPart, readonly string[]>>

export const CONVERSATION_PARTS = Object.keys(CONVERSATION_COLUMNS) as (keyof typeof CONVERSATION_COLUMNS)[]

/** Returns the part of a form that is trained as it stands, so that nothing of a conversation applies; undefined if none is. */
export const wholePart = (columns: RowForm['columns']): RowPart | undefined =>
  (['text', 'input_ids'] as const).find((part) => part in columns)

/** The column with variables of the template, as in TRL. */
export const TEMPLATE_OPTIONS = 'chat_template_kwargs'

/** Masks of already tokenised rows (TRL). */
export const TOKEN_MASKS = ['completion_mask', 'assistant_masks'] as const

const completion = 'the completion, with its end token'
const turns = "each of the assistant's turns, with its end token"
const question = '`mora eval --task choices`; not trained'

/** A prompt and its answer; a column `answer` beside a worked solution is what `mora eval` compares with. */
const pair = (
  name: string,
  madeFor: string,
  prompt: string,
  answer: string,
  input: readonly string[] = [],
): RowForm => ({
  name,
  madeFor,
  use: completion,
  columns: { prompt: [prompt], completion: [answer] },
  optional: { answer: ['answer'], ...(input.length > 0 && { input }) },
})

const choices = (
  name: string,
  madeFor: string,
  columns: RowForm['columns'],
  optional?: RowForm['optional'],
  more: Pick<RowForm, 'fixedChoices' | 'continues'> = {},
): RowForm => ({
  name,
  madeFor,
  use: question,
  columns,
  optional,
  ...more,
})

const pubmedqa = (name: string, contexts: string): RowForm =>
  choices(
    name,
    'PubMedQA',
    { prompt: ['question'], input: [contexts], answer: ['final_decision'] },
    {},
    { fixedChoices: ['yes', 'no', 'maybe'] },
  )

const adaptllmText = (name: string, label: string): RowForm => ({
  name,
  madeFor: 'AdaptLLM (NER, ConvFinQA)',
  use: '`mora eval --task ner`, `convfinqa`; not trained',
  columns: { prompt: ['input'], answer: [label] },
})

const promptAlone = (column: string): RowForm => ({
  name: column,
  madeFor: `a ${column} alone`,
  use: '`mora eval --task generate`; not trained',
  columns: { prompt: [column] },
})

/** The subject of MMLU and its kin. */
const ofSubject = { subject: ['subject', 'category', 'type'] }

/** Forms of texts, prompts and questions, in the order in which they are tried. */
export const TEXT_FORMS: readonly RowForm<never>[] = [
  {
    name: 'tokens',
    madeFor: 'already tokenised rows (TRL, Axolotl)',
    use: 'tokens whose label is not −100, or whose `completion_mask` or `assistant_masks` is 1; without these all',
    columns: { input_ids: ['input_ids'] },
    optional: { labels: ['labels'] },
  },
  {
    name: 'messages',
    madeFor: 'OpenAI, TRL, ms-swift, MLX, Bedrock',
    use: turns,
    columns: { messages: ['messages'] },
  },
  choices(
    'choices',
    'MMLU (JSON, Parquet)',
    { prompt: ['question'], choices: ['choices'], answer: ['answer'] },
    ofSubject,
  ),
  choices(
    'lettered',
    'MMLU (CSV, with or without a header)',
    { prompt: ['question'], choices: ['A', 'B', 'C', 'D'], answer: ['answer'] },
    ofSubject,
  ),
  choices(
    'arc',
    'ARC, CommonsenseQA',
    { prompt: ['question'], choices: ['choices'], answer: ['answerKey'] },
    { subject: ['subject', 'category'] },
  ),
  choices('openbookqa', 'OpenBookQA', { prompt: ['question_stem'], choices: ['choices'], answer: ['answerKey'] }),
  choices(
    'hellaswag',
    'HellaSwag',
    { prompt: ['ctx'], choices: ['endings'], answer: ['label'] },
    { subject: ['activity_label'] },
    { continues: true },
  ),
  choices('aqua', 'AQuA', { prompt: ['question'], choices: ['options'], answer: ['correct'] }),
  choices(
    'medqa',
    'MedQA (USMLE)',
    { prompt: ['question'], choices: ['options'], answer: ['answer_idx'] },
    { subject: ['meta_info'] },
  ),
  choices('medqa-endings', 'MedQA (lm-evaluation-harness)', {
    prompt: ['sent1'],
    choices: ['ending0', 'ending1', 'ending2', 'ending3'],
    answer: ['label'],
  }),
  choices(
    'medmcqa',
    'MedMCQA',
    { prompt: ['question'], choices: ['opa', 'opb', 'opc', 'opd'], answer: ['cop'] },
    { subject: ['subject_name'] },
  ),
  pubmedqa('pubmedqa', 'contexts'),
  pubmedqa('pubmedqa-nested', 'context.contexts'),
  choices(
    'adaptllm',
    'AdaptLLM (FPB, FiQA, Headline, RCT, …)',
    { prompt: ['input'], choices: ['options'], answer: ['gold_index'] },
    { subject: ['class_id'] },
    { continues: true },
  ),
  choices('options', 'MMLU-Pro', { prompt: ['question'], choices: ['options'], answer: ['answer'] }, ofSubject),
  choices('agieval', 'AGIEval', { prompt: ['question'], choices: ['options'], answer: ['label'] }),
  choices('truthfulqa', 'TruthfulQA (multiple choice)', { prompt: ['question'], choices: ['mc1_targets'] }),
  choices(
    'truthfulqa-answers',
    'TruthfulQA (generation)',
    { prompt: ['question'], choices: ['best_answer', 'incorrect_answers'] },
    { subject: ['category'] },
  ),
  choices(
    'truthfulqa-csv',
    'TruthfulQA (CSV)',
    { prompt: ['Question'], choices: ['Best Answer', 'Incorrect Answers'] },
    { subject: ['Category'] },
  ),
  choices('sciq', 'SciQ', {
    prompt: ['question'],
    choices: ['correct_answer', 'distractor1', 'distractor2', 'distractor3'],
  }),
  choices('piqa', 'PIQA', { prompt: ['goal'], choices: ['sol1', 'sol2'], answer: ['label'] }),
  {
    name: 'verl',
    madeFor: 'verl',
    use: '`mora eval --task exact-match`; with `extra_info.answer`, that is trained',
    columns: { prompt: ['prompt'], answer: ['reward_model.ground_truth'] },
    optional: { completion: ['extra_info.answer'] },
  },
  pair('alpaca', 'Alpaca, LLaMA-Factory, Axolotl', 'instruction', 'output', ['input']),
  pair('dolly', 'Dolly', 'instruction', 'response', ['context', 'input']),
  pair('prompt-completion', 'TRL, OpenAI, MLX', 'prompt', 'completion', ['input']),
  pair('prompt-response', 'OpenRLHF, LLaMA-Factory', 'prompt', 'response', ['input']),
  pair('prompt-answer', 'evaluation sets', 'prompt', 'answer'),
  pair('prompt-output', 'prompts and outputs', 'prompt', 'output', ['input']),
  {
    name: 'word-problem',
    madeFor: 'SVAMP, ASDiv',
    use: completion,
    columns: { prompt: ['body', 'question'], completion: ['answer'] },
  },
  pair('problem-solution', 'MATH, NuminaMath', 'problem', 'solution'),
  pair('question-solution', 'worked solutions', 'question', 'solution'),
  pair('question-answer', 'GSM8K, AIME', 'question', 'answer'),
  pair('question-response', 'OpenOrca', 'question', 'response'),
  pair('question-result', 'Calc-X', 'question', 'result'),
  pair('query-response', 'MetaMathQA, ms-swift', 'query', 'response'),
  pair('query-answer', 'queries and answers', 'query', 'answer'),
  pair('problem-answer', 'AIME', 'problem', 'answer'),
  pair('input-output', 'inputs and outputs, Phoenix', 'input', 'output'),
  pair('input-target', 'MAWPS', 'input', 'target'),
  pair('inputs-targets', 'FLAN, P3', 'inputs', 'targets'),
  pair('input-expected', 'Braintrust', 'input', 'expected'),
  adaptllmText('input-labels', 'label.0'),
  adaptllmText('input-label', 'label'),
  pair('context-response', 'counselling dialogues', 'context', 'response'),
  { name: 'text', madeFor: 'plain text', use: 'all of it, and its end', columns: { text: ['text'] } },
  {
    name: 'sharegpt',
    madeFor: 'ShareGPT, FastChat, LLaMA-Factory, Axolotl',
    use: turns,
    columns: { messages: ['conversations'] },
  },
  {
    name: 'conversation',
    madeFor: 'LMSYS, XTuner, Azure',
    use: turns,
    columns: { messages: ['conversation'] },
  },
  {
    name: 'contents',
    madeFor: 'Vertex AI',
    use: turns,
    columns: { messages: ['contents'] },
    optional: { system: ['systemInstruction', 'system_instruction'] },
  },
  { name: 'content', madeFor: 'code and documents', use: 'all of it, and its end', columns: { text: ['content'] } },
  promptAlone('prompt'),
  promptAlone('question'),
  promptAlone('problem'),
]

/** A use of rows, such as training. */
export interface RowPurpose<Own extends string = string> {
  /** Absent for a kind of rows. */
  readonly name?: string
  /** The columns that rows need, for errors. */
  readonly needs: string
  /** The parts whose columns errors propose to name; absent: the parts of an answer. */
  readonly parts?: readonly RowPart<Own>[]
  /** Whether rows of a form can be read, which has columns of these parts. */
  fits(columns: ColumnsOfParts<Own>, form: RowForm): boolean
}

/** Columns that are not read although they change the meaning of a row. */
export interface UnreadColumns {
  readonly columns: readonly string[]
  /** Names of the purposes for which the columns matter; absent: for all. */
  readonly purposes?: readonly string[]
  /** Whether a value changes the row's meaning. */
  readonly matters: (value: unknown) => boolean
  /** Whether the columns also matter beside a text that is trained as a whole. */
  readonly besideText?: boolean
  /** Meaning of rows with such a column, for the error. */
  readonly meaning: string
  /** The objective that trains on such rows. */
  readonly objective?: string
  /** Another way than ignoring the column: append it to the prompt, read the preferred answers, or read an answer alone. */
  readonly way?: 'input' | 'preferred' | 'answer'
}

const isList = (value: unknown): boolean => typeof value === 'object' && Object.keys(value ?? {}).length > 0
const isPresent = (value: unknown): boolean => isList(value) || (typeof value === 'string' && value !== '')

/** Columns that are refused unless they are ignored by name, since a row would be trained or measured as something else. */
export const UNREAD_COLUMNS: readonly UnreadColumns[] = [
  {
    columns: ['chosen', 'rejected', 'chosen_messages', 'rejected_messages'],
    purposes: ['training'],
    matters: isPresent,
    besideText: true,
    meaning: 'preferences',
    objective: 'dpo',
    way: 'preferred',
  },
  {
    columns: ['label', 'kto_tag'],
    purposes: ['training'],
    matters: (value) => typeof value === 'boolean',
    meaning: 'answers judged good or bad',
    objective: 'kto',
  },
  {
    columns: ['images', 'image', 'videos', 'video', 'audios', 'audio'],
    matters: isPresent,
    besideText: true,
    meaning: 'more than text, and only text is read',
  },
  {
    columns: ['choices', 'options', 'endings'],
    purposes: ['training', 'question'],
    matters: isList,
    meaning: 'multiple-choice questions, which mora eval --task choices measures',
    way: 'answer',
  },
  {
    columns: ['context', 'passage'],
    matters: isPresent,
    meaning: 'questions about a passage',
    way: 'input',
  },
]
