/** All kinds of rows. */
import { type RowForm, TEXT_FORMS } from '../forms.js'
import { judged } from './judged.js'
import type { RowKind } from './kind.js'
import { labelled } from './labelled.js'
import { pairs } from './pairs.js'
import { related } from './related.js'

export const KINDS = { pairs, judged, labelled, related } as const satisfies Record<string, RowKind>

/** A text or conversation, or a kind whose texts an objective compares. */
export type RowKindName = 'examples' | keyof typeof KINDS

export const ROW_KINDS = ['examples', ...(Object.keys(KINDS) as (keyof typeof KINDS)[])] as const

/** Returns a kind by its name; undefined for `examples`. */
export const kindNamed = (name: RowKindName = 'examples'): RowKind | undefined =>
  name === 'examples' ? undefined : KINDS[name]

/** All forms, in the order in which they are tried. */
export const ROW_FORMS: readonly RowForm[] = [...TEXT_FORMS, ...Object.values(KINDS).flatMap(({ forms }) => forms)]
