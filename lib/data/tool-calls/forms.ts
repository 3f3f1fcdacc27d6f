/** The forms in which models write calls and reasoning, as one table that `reader.ts` reads. */

/** How a form writes values. */
export interface ValueSyntax {
  /** Marks around strings, which close as they open. */
  readonly quotes: readonly string[]
  /** Whose escapes strings have. */
  readonly escapes: 'json' | 'python' | 'none'
  /** Words that are values. */
  readonly words: Readonly<Record<string, boolean | null>>
  /** Whether keys of objects stand without quotes. */
  readonly bareKeys?: true
}

const words = { true: true, false: false, null: null }
export const PYTHON_WORDS = { True: true, False: false, None: null }

export const JSON_SYNTAX: ValueSyntax = { quotes: ['"'], escapes: 'json', words }
const python: ValueSyntax = { quotes: ["'", '"'], escapes: 'python', words: { ...words, ...PYTHON_WORDS } }
const gemma: ValueSyntax = { quotes: ['<|"|>'], escapes: 'none', words: { ...words, None: null }, bareKeys: true }

/** Arguments as raw texts between tags; only the function's schema tells what is a string. */
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

/** A part of a call; a string is written as it is. */
export type CallPart =
  | string
  /** White space, perhaps none. */
  | { readonly read: 'space' }
  /** The name of a function that the model was given. */
  | { readonly read: 'name' }
  /** Letters, digits, dots, colons, hyphens and underscores. */
  | { readonly read: 'word' }
  /** JSON with the name, the arguments and perhaps an id. */
  | { readonly read: 'call' }
  /** An object. */
  | { readonly read: 'arguments'; readonly syntax: ValueSyntax }
  /** `key=value, key=value`, up to a closing parenthesis. */
  | { readonly read: 'keywords'; readonly syntax: ValueSyntax }
  | { readonly read: 'tagged'; readonly tags: TaggedArguments }
  /** What may be left out, told by its first part. */
  | { readonly maybe: readonly [string, ...CallPart[]] }
  /** Parts whose text is the id. */
  | { readonly id: readonly CallPart[] }

/** One way to write calls. */
export interface CallForm {
  /** What may stand around several calls. */
  readonly section?: readonly [string, string]
  /** What begins a call, or a list of calls. */
  readonly open: string
  /** What begins, separates and ends the calls of a list; if absent, there is one call. */
  readonly list?: readonly [string, string, string]
  readonly call: readonly CallPart[]
  /** What ends it; it may be missing at the end of the answer. */
  readonly close: string
  /** Calls are the whole answer or none. */
  readonly isWhole?: true
}

/** Marks of an answer beside its calls. */
export interface ReasoningTags {
  readonly open: string
  readonly close: string
}

/** How one kind of templates writes answers. */
export interface AnswerSyntax {
  readonly calls: readonly CallForm[]
  /** Marks around parts of the content, which are no text. */
  readonly marks?: readonly string[]
  /** Reasoning that stands between such marks, so anywhere in an answer. */
  readonly marked?: ReasoningTags
}

/** How the answers to one chat template are written; `answerForm` finds it. */
export class AnswerForm {
  constructor(
    /** What the generation prompt begins of an answer, such as `<think>` and a line end. */
    readonly prefill: string,
    /** @internal */
    readonly syntax: AnswerSyntax,
    /** @internal */
    readonly reasoning: readonly ReasoningTags[],
  ) {
    Object.freeze(this)
  }

  /** Whether the template writes calls, in a form that can be read. */
  get readsCalls(): boolean {
    return this.syntax.calls.length > 0
  }
}

/** Reasoning at the beginning of an answer. */
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

/** The first that reads what a template writes is the template's. */
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
