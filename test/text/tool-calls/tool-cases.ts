/** Answers of models with their calls, from templates and after them: a part of golden/sampling/tools.json, or all of it. */
import { readFileSync } from 'node:fs'
import type { ToolCall } from '../../../lib/text/tool-calls/calls.js'
import { AnswerForm, REASONING, SYNTAXES } from '../../../lib/text/tool-calls/forms.js'

export interface ToolCase {
  name: string
  form: string
  variant?: string
  template: string | null
  source: string
  prefill?: string
  raw: string
  end?: string
  content?: string
  contentParts?: string[]
  reasoning?: string
  toolCalls: Omit<ToolCall, 'argumentsText'>[]
  argumentsText?: string[]
  tools?: unknown[]
}

export const TOOL_CASES = 'golden/sampling/tools.json'

export function toolCases(path: string): { tools: unknown[]; cases: ToolCase[] } {
  return JSON.parse(readFileSync(path, 'utf8'))
}

const syntaxNames: Readonly<Record<string, string>> = { gemma4: 'gemma' }

/** Returns a form by its name in the cases, with every kind of reasoning. */
export function namedForm(name: string): AnswerForm {
  const syntax = SYNTAXES[syntaxNames[name] ?? name]!
  return new AnswerForm('', syntax, REASONING)
}
