/** Files of any size, of each kind that is read, in shapes that make simple readers slow. */
import { ofAdapters, ofGguf, ofSafetensors, ofTokenizers } from './models.js'
import { ofRows } from './rows.js'
import { ofRuns } from './runs.js'
import type { Shape } from './shape.js'
import { ofTemplates } from './templates.js'
import { ofCsv, ofJson, ofLines, ofText, ofYaml } from './texts.js'

export const allShapes: readonly Shape[] = [
  ...ofJson,
  ...ofYaml,
  ...ofCsv,
  ...ofLines,
  ...ofText,
  ...ofRows,
  ...ofSafetensors,
  ...ofAdapters,
  ...ofGguf,
  ...ofTokenizers,
  ...ofTemplates,
  ...ofRuns,
]
