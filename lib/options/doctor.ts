/** Options of `mora doctor`. */
import { z } from 'zod'
import { flag } from '../schema/option.js'
import { commonOptions } from './common.js'

export const DoctorSchema = z.strictObject({
  check: flag(
    'also compute operations, gradients and training steps, and compare them with values from another machine',
  ),
  ...commonOptions,
})
