/** All commands. Each loads its modules when it runs, so that help is fast and needs no addon. */
import type { AnyCommand } from '../command.js'
import { analyzeCommand } from './analyze.js'
import { buildCommand } from './build.js'
import { chatCommand } from './chat.js'
import { dashboardCommand } from './dashboard.js'
import { demoCommand } from './demo.js'
import { doctorCommand } from './doctor.js'
import { evalCommand } from './eval.js'
import { exportCommand } from './export.js'
import { fitCommand } from './fit.js'
import { generateCommand } from './generate.js'
import { imatrixCommand } from './imatrix.js'
import { inspectCommand } from './inspect.js'
import { mergeCommand } from './merge.js'
import { pushCommand } from './push.js'
import { reportCommand } from './report.js'
import { serveCommand } from './serve.js'
import { trainCommand } from './train.js'

export const commands: readonly AnyCommand[] = [
  trainCommand,
  fitCommand,
  evalCommand,
  generateCommand,
  chatCommand,
  serveCommand,
  mergeCommand,
  exportCommand,
  imatrixCommand,
  pushCommand,
  inspectCommand,
  analyzeCommand,
  dashboardCommand,
  reportCommand,
  demoCommand,
  doctorCommand,
  buildCommand,
]
