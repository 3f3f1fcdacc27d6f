/** Options of `mora dashboard` and `mora report`. */
import { z } from 'zod'
import { flag, integer, text, textWithDefault } from '../schema/option.js'
import { commonOptions } from './common.js'

const runsFolder = textWithDefault('the output folder of a run, or a folder that contains several', 'DIR', '.', {
  expects: 'the path of a folder',
})

export const DashboardSchema = z.strictObject({
  folder: runsFolder,
  port: integer('port to listen on; 0 picks a free one', 6116, { min: 0, max: 65_535 }),
  host: textWithDefault('name or address to listen on; 0.0.0.0 lets other machines connect too', 'HOST', '127.0.0.1', {
    expects: 'a name or an address of this machine',
  }),
  open: flag('open the page in a browser'),
  ...commonOptions,
})

export const ReportSchema = z.strictObject({
  folder: runsFolder,
  output: text('file to write', 'FILE', { expects: 'the path of a file', defaultText: 'report.html in DIR' }),
  overwrite: flag('replace the file that --output names'),
  ...commonOptions,
})
