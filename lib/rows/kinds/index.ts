/** All kinds of rows. */
import { type RowForm, TEXT_FORMS, TEXT_PARTS } from '../forms.js'
import { infill } from './infill.js'
import { judged } from './judged.js'
import type { RowKind } from './kind.js'
import { labelled } from './labelled.js'
import { pairs } from './pairs.js'
import { related } from './related.js'

export const KINDS = { pairs, judged, labelled, related, infill } as const satisfies Record<string, RowKind>

/** `examples` are texts and conversations, and kinds whose tokens are trained with theirs. */
export type RowKindName = 'examples' | keyof typeof KINDS

export const ROW_KINDS = ['examples', ...(Object.keys(KINDS) as (keyof typeof KINDS)[])] as const

/** Returns a kind by its name; undefined for `examples`. */
export const kindNamed = (name: RowKindName = 'examples'): RowKind | undefined =>
  name === 'examples' ? undefined : KINDS[name]

const kinds: readonly RowKind[] = Object.values(KINDS)

/** Kinds whose tokens are trained like texts and conversations. */
export const TRAINED_KINDS = kinds.filter(({ compared }) => !compared)

/** Kinds whose texts an objective compares or gives a label. */
export const COMPARED_KINDS = kinds.flatMap(({ compared, ...kind }) => (compared ? [{ ...kind, compared }] : []))

const formsOfKinds = kinds.flatMap(({ forms }) => forms)

/** All forms, in the order in which they are tried. */
export const ROW_FORMS: readonly RowForm[] = [...TEXT_FORMS, ...formsOfKinds]

/** Names of parts for `--columns`: a prompt may also be called a question. */
export const COLUMN_NAMES: readonly string[] = [
  ...new Set([
    ...TEXT_PARTS,
    ...formsOfKinds.flatMap(({ columns, optional }) => Object.keys({ ...columns, ...optional })),
  ]),
  'question',
]
