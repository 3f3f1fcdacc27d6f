/** `/v1/fine_tuning/alpha/graders`: graders before a job uses them. */
import type { z } from 'zod'
import { anObject, anyText } from '../../common/arguments.js'
import { AnswerGrader, GRADER_ERRORS, type GradeResult } from '../../graders/grade.js'
import { GraderField } from '../../graders/grader.js'
import { sampleOf } from '../../graders/sample.js'
import { graderHelp, type Jobs, requireServed } from '../../jobs/index.js'
import { onlyFields } from '../../schema/only-fields.js'
import { readBody } from '../body.js'
import { parseFields } from '../fields.js'
import type { ClientRoutes, JobAsked } from '../serving.js'

export const GRADER_ROUTES: ClientRoutes = {
  '/v1/fine_tuning/alpha/graders/validate': { POST: validate },
  '/v1/fine_tuning/alpha/graders/run': { POST: run },
}

async function validate(request: Request, jobs: Jobs, { owner, maxBodyBytes }: JobAsked): Promise<Response> {
  const body = await readBody(request, maxBodyBytes)
  const { grader } = parseFields(onlyFields({ grader: GraderField }), body)
  graderFor(grader, jobs, owner)
  return Response.json({ grader })
}

const RunBody = onlyFields({ grader: GraderField, model_sample: anyText, item: anObject.default({}) })

async function run(request: Request, jobs: Jobs, { owner, maxBodyBytes }: JobAsked): Promise<Response> {
  const { grader: given, model_sample, item } = parseFields(RunBody, await readBody(request, maxBodyBytes))
  const grader = graderFor(given, jobs, owner)
  const begin = performance.now()
  const result = await grader.grade(
    { item, sample: sampleOf(model_sample) },
    graderHelp(jobs.host, owner),
    request.signal,
  )
  return Response.json(resultOf(grader, result, (performance.now() - begin) / 1000))
}

/** @throws UsageError for a grader that needs what this server has not */
function graderFor(given: z.output<typeof GraderField>, { host }: Jobs, owner: string | null): AnswerGrader {
  const grader = new AnswerGrader(given)
  const requireModel = (name: string) => host.requireModel(name, owner)
  requireServed(grader, { requireModel, programs: Object.keys(host.graders), field: 'grader' })
  return grader
}

/** A result as OpenAI describes it. @param seconds that it took */
function resultOf({ grader }: AnswerGrader, { score, scores, error }: GradeResult, seconds: number) {
  const all = Object.values(scores)
  const errors = [error, ...all.map((one) => one.error)].filter((one) => one !== undefined)
  const usages = all.flatMap(({ usage }) => (usage ? [usage] : []))
  const singles = grader.type === 'multi' ? Object.entries(grader.graders) : [[grader.name, grader] as const]
  const asked = singles.flatMap(([name, single]) => {
    const usage = scores[name]?.usage
    return single.type === 'score_model' && usage ? [[single.model, usage] as const] : []
  })
  const models = [...new Set(asked.map(([model]) => model))]
  const ofModel = (model: string) => usageSum(asked.flatMap(([name, usage]) => (name === model ? [usage] : [])))
  const values = Object.fromEntries(Object.entries(scores).map(([name, one]) => [name, one.score]))
  return {
    reward: score,
    metadata: {
      name: grader.name,
      type: grader.type,
      errors: {
        ...Object.fromEntries(GRADER_ERRORS.map((name) => [name, errors.some((one) => one.name === name)])),
        python_grader_server_error_type: null,
        python_grader_runtime_error_details: null,
        model_grader_server_error_details:
          errors.find(({ name }) => name === 'model_grader_server_error')?.message ?? null,
        /** Of this server: what went wrong, in words. */
        messages: errors.map(({ message }) => message),
      },
      execution_time: seconds,
      scores: values,
      token_usage: usages.length > 0 ? usageSum(usages).total_tokens : null,
      sampled_model_name: models[0] ?? null,
    },
    sub_rewards: grader.type === 'multi' ? values : {},
    model_grader_token_usage_per_model: Object.fromEntries(models.map((model) => [model, ofModel(model)])),
  }
}

const usageSum = (usages: readonly { prompt_tokens: number; completion_tokens: number; total_tokens: number }[]) => ({
  prompt_tokens: usages.reduce((sum, one) => sum + one.prompt_tokens, 0),
  completion_tokens: usages.reduce((sum, one) => sum + one.completion_tokens, 0),
  total_tokens: usages.reduce((sum, one) => sum + one.total_tokens, 0),
})
