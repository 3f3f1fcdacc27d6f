/** The forms in which models write calls and reasoning, as one table that `reader.ts` reads. */

/** Syntax of values. */
export interface ValueSyntax {
  /** Quotation marks of strings, the same at both ends. */
  readonly quotes: readonly string[]
  /** The language of escapes in strings. */
  readonly escapes: 'json' | 'python' | 'none'
  /** Words for values. */
  readonly words: Readonly<Record<string, boolean | null>>
  /** Whether keys of objects have no quotes. */
  readonly bareKeys?: true
}

const words = { true: true, false: false, null: null }
export const PYTHON_WORDS = { True: true, False: false, None: null }

export const JSON_SYNTAX: ValueSyntax = { quotes: ['"'], escapes: 'json', words }
const python: ValueSyntax = { quotes: ["'", '"'], escapes: 'python', words: { ...words, ...PYTHON_WORDS } }
const gemma: ValueSyntax = { quotes: ['<|"|>'], escapes: 'none', words: { ...words, None: null }, bareKeys: true }

/** Arguments as raw texts between tags; the function's schema distinguishes strings from other values. */
export interface TaggedArguments {
  /** Tags around a key. */
  readonly key: readonly [string, string]
  /** Tags around a value. */
  readonly value: readonly [string, string]
  /** Whether one line end inside of each value's tag belongs to the tag. */
  readonly lineEnds?: true
  /** The tag after the last argument. */
  readonly end: string
}

/** A part of a call; a string stands for itself. */
export type CallPart =
  | string
  /** Optional white space. */
  | { readonly read: 'space' }
  /** The name of a known function. */
  | { readonly read: 'name' }
  /** Letters, digits, dots, colons, hyphens and underscores. */
  | { readonly read: 'word' }
  /** JSON with the name, the arguments and an optional id. */
  | { readonly read: 'call' }
  /** An object. */
  | { readonly read: 'arguments'; readonly syntax: ValueSyntax }
  /** `key=value, key=value`, up to a closing parenthesis. */
  | { readonly read: 'keywords'; readonly syntax: ValueSyntax }
  | { readonly read: 'tagged'; readonly tags: TaggedArguments }
  /** Optional parts, recognised by the first one. */
  | { readonly maybe: readonly [string, ...CallPart[]] }
  /** Parts whose text is the id. */
  | { readonly id: readonly CallPart[] }

/** Syntax of calls. */
export interface CallForm {
  /** Optional tags around several calls. */
  readonly section?: readonly [string, string]
  /** The opening of a call, or of a list of calls. */
  readonly open: string
  /** The opening, separator and end of a list of calls; if absent, there is one call. */
  readonly list?: readonly [string, string, string]
  readonly call: readonly CallPart[]
  /** The end of a call or list; it may be missing at the end of the answer. */
  readonly close: string
  /** Whether calls must be the whole answer. */
  readonly isWhole?: true
}

/** Marks of an answer beside its calls. */
export interface ReasoningTags {
  readonly open: string
  readonly close: string
}

/** Syntax of the answers of one kind of templates. */
interface AnswerSyntax {
  readonly calls: readonly CallForm[]
  /** Marks around parts of the content, which are not part of the text. */
  readonly marks?: readonly string[]
  /** Tags of reasoning between such marks, anywhere in an answer. */
  readonly marked?: ReasoningTags
}

/** The syntax of one chat template's answers; `answerForm` finds it. */
export class AnswerForm {
  constructor(
    /** The beginning of an answer in the generation prompt, such as `<think>` and a line end. */
    readonly prefill: string,
    /** @internal */
    readonly syntax: AnswerSyntax,
    /** @internal */
    readonly reasoning: readonly ReasoningTags[],
  ) {
    Object.freeze(this)
  }

  /** Whether the template writes calls in a known form. */
  get readsCalls(): boolean {
    return this.syntax.calls.length > 0
  }
}

/** Tags of reasoning at the beginning of an answer. */
export const REASONING: readonly ReasoningTags[] = [
  { open: '<think>', close: '</think>' },
  { open: '[THINK]', close: '[/THINK]' },
  { open: '<|channel>thought', close: '<channel|>' },
]

const space = { read: 'space' } as const
const name = { read: 'name' } as const
const word = { read: 'word' } as const
const call = { read: 'call' } as const
const json = { read: 'arguments', syntax: JSON_SYNTAX } as const
const jsonList = ['[', ',', ']'] as const

const harmonyMessage = [
  { maybe: [' '] },
  { maybe: ['<|constrain|>'] },
  { maybe: ['json'] },
  '<|message|>',
  json,
] as const
const deepseekSection = ['<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'] as const

/** All forms; a template has the first one that reads its output. */
export const SYNTAXES: Readonly<Record<string, AnswerSyntax>> = {
  hermes: { calls: [{ open: '<tool_call>', call: [space, call, space], close: '</tool_call>' }] },
  xml: {
    calls: [
      {
        open: '<tool_call>',
        call: [
          space,
          '<function=',
          name,
          '>',
          {
            read: 'tagged',
            tags: {
              key: ['<parameter=', '>'],
              value: ['', '</parameter>'],
              lineEnds: true,
              end: '</function>',
            },
          },
          '</function>',
          space,
        ],
        close: '</tool_call>',
      },
    ],
  },
  glm: {
    calls: [
      {
        open: '<tool_call>',
        call: [
          space,
          name,
          {
            read: 'tagged',
            tags: {
              key: ['<arg_key>', '</arg_key>'],
              value: ['<arg_value>', '</arg_value>'],
              end: '</tool_call>',
            },
          },
        ],
        close: '</tool_call>',
      },
    ],
  },
  granite: {
    calls: ['<|tool_call|>', '<tool_call>'].map((open) => ({ open, list: jsonList, call: [call], close: '' })),
  },
  mistral: {
    calls: [
      { open: '[TOOL_CALLS]', list: jsonList, call: [call], close: '' },
      {
        open: '[TOOL_CALLS]',
        call: [name, { maybe: ['[CALL_ID]', { id: [word] }] }, '[ARGS]', json],
        close: '',
      },
    ],
  },
  kimi: {
    calls: [
      {
        section: ['<|tool_calls_section_begin|>', '<|tool_calls_section_end|>'],
        open: '<|tool_call_begin|>',
        call: [
          space,
          { id: ['functions.', name, ':', word] },
          space,
          '<|tool_call_argument_begin|>',
          space,
          json,
          space,
        ],
        close: '<|tool_call_end|>',
      },
    ],
  },
  deepseek: {
    calls: [
      {
        section: deepseekSection,
        open: '<｜tool▁call▁begin｜>',
        call: ['function<｜tool▁sep｜>', name, '\n```json\n', json, '\n```'],
        close: '<｜tool▁call▁end｜>',
      },
      {
        section: deepseekSection,
        open: '<｜tool▁call▁begin｜>',
        call: [name, '<｜tool▁sep｜>', json],
        close: '<｜tool▁call▁end｜>',
      },
    ],
  },
  gemma: {
    calls: [
      {
        open: '<|tool_call>',
        call: ['call:', name, { read: 'arguments', syntax: gemma }],
        close: '<tool_call|>',
      },
    ],
  },
  lfm2: {
    calls: [
      {
        open: '<|tool_call_start|>',
        list: jsonList,
        call: [name, '(', { read: 'keywords', syntax: python }, ')'],
        close: '<|tool_call_end|>',
      },
    ],
  },
  harmony: {
    calls: [
      { open: ' to=functions.', call: [name, '<|channel|>commentary', ...harmonyMessage], close: '<|call|>' },
      { open: '<|channel|>commentary to=functions.', call: [name, ...harmonyMessage], close: '<|call|>' },
    ],
    marks: [
      '<|start|>assistant',
      '<|channel|>final<|message|>',
      '<|channel|>commentary<|message|>',
      '<|end|>',
      '<|return|>',
    ],
    marked: { open: '<|channel|>analysis<|message|>', close: '<|end|>' },
  },
  llama: {
    calls: [
      { open: '', list: ['', ';', ''], call: [{ maybe: ['<|python_tag|>'] }, call], close: '', isWhole: true },
      {
        open: '<|python_tag|>',
        call: [name, '.call(', { read: 'keywords', syntax: { ...JSON_SYNTAX, escapes: 'none' } }, ')'],
        close: '',
        isWhole: true,
      },
    ],
  },
}
