/** The tasks with rows, by name: values of one shape, or functions of an option (`scorer`, `score`). */
import { convfinqa, headline, ner, rct, sentiment } from './adaptllm.js'
import { choicesBy } from './choices.js'
import { exactMatch } from './exact-match.js'
import { generated, type Scorer } from './generate.js'
import { gsm8k, gsm8kCot } from './gsm8k.js'
import { math } from './math.js'
import { medmcqa, medqa, pubmedqa } from './medicine.js'
import { mmlu } from './mmlu.js'
import { openbookqa } from './openbookqa.js'
import type { AnswerTask, ChoiceTask } from './task.js'

const answerTasks = {
  'exact-match': exactMatch,
  gsm8k,
  'gsm8k-cot': gsm8kCot,
  math,
  ner,
  convfinqa,
  generate: generated,
} satisfies Record<string, AnswerTask | ((scorer: Scorer) => AnswerTask)>

const choiceTasks = {
  choices: choicesBy,
  mmlu,
  openbookqa,
  pubmedqa,
  medqa,
  medmcqa,
  rct,
  fpb: sentiment,
  fiqa: sentiment,
  headline,
} satisfies Record<string, ChoiceTask | ((score: 'letter' | 'text') => ChoiceTask)>

type AskedTasks = typeof answerTasks & typeof choiceTasks
/** The name of a task with rows. */
export type AskedTask = keyof AskedTasks

/** Names of the tasks that judge a text for each row. */
export const ANSWER_TASKS = Object.keys(answerTasks) as (keyof typeof answerTasks)[]
/** Names of the tasks that compare choices. */
export const CHOICE_TASKS = Object.keys(choiceTasks) as (keyof typeof choiceTasks)[]

/** The figures over all rows of a task, by name. */
export type FiguresOf<Name extends AskedTask> = {
  [Measure in keyof MeasuresOf<Name>]: MeasuresOf<Name>[Measure] extends
    | ((...args: never[]) => infer Figure)
    | undefined
    ? Figure
    : never
}

type MeasuresOf<Name extends AskedTask> = (
  AskedTasks[Name] extends (option: never) => infer Task
    ? Task
    : AskedTasks[Name]
) extends { measures: infer Own }
  ? Own
  : never

export const isAsked = (name: string): name is AskedTask => name in answerTasks || name in choiceTasks

/** @param score the option of `choices` */
export function taskNamed(name: Exclude<AskedTask, 'generate'>, score: 'letter' | 'text'): AnswerTask | ChoiceTask {
  return name === 'choices' ? choicesBy(score) : { ...answerTasks, ...choiceTasks }[name]
}
