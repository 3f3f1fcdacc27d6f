import { InputError } from '../common/errors.js'
import { namesOf } from '../data/sources/open.js'
import type { HubOptions } from '../hub/index.js'
import { type EvalInput, EvalSchema, parseOptions } from '../options/index.js'
import { openTask } from './open-task.js'
import { partsOf } from './perplexity.js'
import type { RowReader } from './task.js'

/**
 * Reads rows as the task `change` does, before anything is computed.
 * @throws UsageError of what does not fit the model, InputError of malformed rows and where no token is predicted
 */
export async function requireRows(
  reader: RowReader,
  data: EvalInput['data'],
  hub: Pick<HubOptions, 'offline' | 'signal'>,
): Promise<void> {
  const options = parseOptions(EvalSchema, { task: 'change', data }, { source: 'api' })
  const settings = await openTask(reader, options, hub)
  let targets = false
  for await (const { mask } of partsOf({ ...settings, truncated: () => {} })) targets ||= mask.includes(1, 1)
  if (targets) return
  throw new InputError(
    'no-targets',
    `${namesOf(settings.data)}: no token is predicted, so there is nothing to compare.`,
  )
}
