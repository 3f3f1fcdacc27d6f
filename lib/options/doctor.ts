/** Options of `mora doctor`. */
import { z } from 'zod'
import { commonOptions } from './common.js'

export const DoctorSchema = z.strictObject(commonOptions)
