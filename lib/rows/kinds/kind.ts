/** Kinds of rows beside texts, conversations and their like: what one file of this folder says of its kind. */
import type { FormedRow } from '../formed-row.js'
import type { RowForm, RowPart, RowPurpose } from '../forms.js'
import type { LabelNames } from '../labels.js'
import type { Row } from '../rows.js'

/** @typeParam Own parts that only rows of the kind and of similar ones have */
export interface RowKind<Own extends string = string> extends RowPurpose<Own> {
  /** Forms, in the order in which they are tried. */
  readonly forms: readonly RowForm<Own>[]
  /** Own parts whose column a row may lack where `columns` names it. */
  readonly mayLack?: readonly Own[]
  /** The texts of a row for objectives that compare or label them; absent if its tokens are trained, like texts and conversations. */
  readonly compared?: {
    /** The objective. */
    readonly objective: string
    /** The part that only rows of this kind and of similar ones have. */
    readonly mark: RowPart<Own>
    /** Whether texts are taken as wholes, so that no token of them is predicted. */
    readonly areWhole?: true
    /** Whether labels have names. */
    readonly hasLabelNames?: true
    /** Returns names of an example's documents; further documents have the last one. */
    documentNames(label: number): readonly string[]
  }
  /**
   * Returns the row without its weight.
   * @throws InputError `malformed-row`
   */
  read(row: FormedRow<Own>, labels?: LabelNames): Row
}
