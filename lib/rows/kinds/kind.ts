/** Kinds of rows whose texts an objective compares. */
import type { FormedRow } from '../formed-row.js'
import type { RowForm, RowPart, RowPurpose } from '../forms.js'
import type { LabelNames } from '../labels.js'
import type { Row } from '../rows.js'

export interface RowKind extends RowPurpose {
  /** The objective that takes such rows. */
  readonly objective: string
  /** The part that only rows of this kind and of similar ones have. */
  readonly mark: RowPart
  readonly forms: readonly RowForm[]
  /** Whether texts are taken as wholes, so that no token of them is predicted. */
  readonly areWhole?: true
  /** Whether labels have names. */
  readonly hasLabelNames?: true
  /**
   * Returns the texts of a row, and their label.
   * @throws InputError `malformed-row`
   */
  read(row: FormedRow, labels?: LabelNames): { examples: Row[][]; label?: number }
  /** Returns names of an example's documents; further documents have the last one. */
  documentNames(label: number): readonly string[]
}
