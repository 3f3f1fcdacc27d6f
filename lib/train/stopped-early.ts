/** The end of a run that is stopped before it has anything to save. */
import { RunError } from '../common/errors.js'

const CODE = 'stopped'

export const stoppedEarly = (): RunError => new RunError(CODE, 'Stopped before the first step; nothing was written.')

export const isStoppedEarly = (error: unknown): error is RunError => error instanceof RunError && error.code === CODE
