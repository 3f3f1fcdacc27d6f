/** The objective of a run, prepared for the model and the options of the run. */
import { UsageError } from '../../common/errors.js'
import { loadModel, Model } from '../../models/index.js'
import { objectiveNamed } from '../../objectives/index.js'
import { type Objective, runObjective } from '../../objectives/objective.js'
import type { TrainSettings } from '../../options/index.js'
import type { RowChoices } from '../../rows/row-choices.js'
import type { Tokenizer } from '../../text/tokenizer.js'

/**
 * Returns the objective that a program gave, or else the one that the options name, prepared for the run; the functions that a resumed
 * run must have again; the teachers that the run has loaded, and the reference of its teacher, which `run.yaml` records.
 * @param undo gets the disposal of the loaded teachers
 */
export async function objectiveOfRun(
  model: Model,
  options: TrainSettings,
  parts: { objective?: Objective | undefined; choices?: RowChoices | undefined; signal?: AbortSignal | undefined },
  undo: (() => unknown)[],
) {
  const name = parts.objective?.name ?? options.objective
  const own = parts.objective ?? (await objectiveByName(options))
  const teachers: Model[] = []
  undo.push(() => {
    for (const teacher of teachers) teacher.dispose()
  })
  const load = async (path: string) => {
    const teacher = await loadTeacher(path, model, options, parts.signal)
    teachers.push(teacher)
    return teacher
  }
  const prepared = await own.prepare?.({
    batchSize: options.batchSize,
    model,
    async teacher(of) {
      const teacher = typeof of === 'string' ? await load(of) : of
      if (teacher instanceof Model) requireSameTokens(model.tokenizer, teacher.tokenizer)
      return teacher
    },
  })
  const objective = prepared ?? own
  const isCustom = objectiveNamed(name) === undefined
  const { teacher = options.teacher } = isCustom ? {} : (objective.options as { teacher?: string })
  return {
    objective: runObjective(objective),
    functions: { ...parts.choices, ...(isCustom && { objective: own }), ...objective.functions },
    teachers,
    reference: teacher,
  }
}

/** Makes the objective that the options name, of its own options among them. */
async function objectiveByName(options: TrainSettings): Promise<Objective> {
  const objective = objectiveNamed(options.objective)!
  const { shape } = objective.schema
  return objective.make(Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(shape, name))))
}

/** Loads a teacher on the device of the trained model, and in its dtype. */
function loadTeacher(
  teacher: string,
  { device: { kind, index }, dtype }: Model,
  { offline, rotaryDtype }: TrainSettings,
  signal: AbortSignal | undefined,
): Promise<Model> {
  const device = kind === 'cpu' ? kind : `${kind}:${index}`
  return loadModel(teacher, { device, dtype, rotaryDtype, offline, signal })
}

/** Control tokens may differ: models of one family rename unused ones. */
function requireSameTokens(ours: Tokenizer | null, theirs: Tokenizer | null): void {
  if (!ours || !theirs) return
  const size = Math.max(ours.vocabularySize, theirs.vocabularySize)
  for (let id = 0; id < size; id++) {
    if (ours.addedIds.has(id) || theirs.addedIds.has(id)) continue
    const [is, was] = [ours.tokenOf(id), theirs.tokenOf(id)]
    if (is === was) continue
    throw new UsageError(
      'other-vocabulary',
      `Token ${id} is ${JSON.stringify(was) ?? 'none'} to the teacher, but ${JSON.stringify(is) ?? 'none'} to the model: distillation needs the same vocabulary.`,
    )
  }
}
