import { drawn } from '../drawn.js'
import { type Lack, lacksLong } from '../needs.js'

const guides = ['dpo', 'endpoint', 'own-method', 'rows', 'service'] as const
const some = drawn('guides', guides, 1)

/** The programs of the guides train for long, each in processes of its own: some of them are drawn. */
export const lacksDraw = (guide: (typeof guides)[number]): Lack => (some.includes(guide) ? null : lacksLong)
