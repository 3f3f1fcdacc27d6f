/** The tasks that score rows, by name. */
import type { ChoiceTaskName, EvalOptions, Task, TextTaskName } from '../../options/index.js'
import type { ChoiceTask } from '../choice-task.js'
import type { TextTask } from '../text-task.js'
import { convfinqaTask, headlineTask, nerTask, rctTask, sentimentTask } from './adaptllm.js'
import { lettersTask, wholeChoicesTask } from './choices.js'
import { exactMatchTask } from './exact-match.js'
import { gsm8kCotTask, gsm8kTask } from './gsm8k.js'
import { mathTask } from './math.js'
import { medmcqaTask, medqaTask, pubmedqaTask } from './medicine.js'
import { mmluTask } from './mmlu.js'

type Named = Readonly<
  Record<Exclude<TextTaskName, 'generate'>, TextTask> & Record<Exclude<ChoiceTaskName, 'choices'>, ChoiceTask>
>

const NAMED: Named & Partial<Record<Task, TextTask | ChoiceTask>> = {
  'exact-match': exactMatchTask,
  gsm8k: gsm8kTask,
  'gsm8k-cot': gsm8kCotTask,
  math: mathTask,
  ner: nerTask,
  convfinqa: convfinqaTask,
  mmlu: mmluTask,
  pubmedqa: pubmedqaTask,
  medqa: medqaTask,
  medmcqa: medmcqaTask,
  rct: rctTask,
  fpb: sentimentTask,
  fiqa: sentimentTask,
  headline: headlineTask,
}

/** Returns the task with a name; undefined for one that scores no rows, and for `generate`, whose scorer is the user's. */
export function taskNamed(name: Task, { score }: Pick<EvalOptions, 'score'>): TextTask | ChoiceTask | undefined {
  if (name === 'choices') return score === 'text' ? wholeChoicesTask : lettersTask
  return NAMED[name]
}
