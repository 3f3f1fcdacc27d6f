/** Rows as objectives use them. */

/** Token ids, and which of them are trained. */
export interface Document {
  /** Token ids. */
  ids: Int32Array
  /** 1 for each trained token. The first token of a document is never predicted, whatever its mask says. */
  mask: Uint8Array
}

/** A row in tokens. */
export interface Example {
  /** One for a text or a conversation; several where an objective compares them. They share a forward pass. */
  readonly documents: readonly Document[]
  /**
   * The value that an objective compares the documents by: the number of their label, 1 for a completion that is judged good,
   * or the margin of a pair; default 0.
   */
  readonly label?: number
  /** The factor of the example's loss, and of its part of the divisor; default 1. */
  readonly weight?: number
}

export const exampleOf = (document: Document): Example => ({ documents: [document] })

/** Returns the documents of an example with its weight, the first with its label. */
export function labelledDocuments({ documents, label, weight }: Example): (Document & Omit<Example, 'documents'>)[] {
  const own = { ...(weight !== undefined && { weight }) }
  return documents.map((one, i) => ({ ...one, ...own, ...(i === 0 && label !== undefined && { label }) }))
}

/** Whether a token of a document is predicted and trained. */
export const isPredicted = (mask: Uint8Array, at: number): boolean => at > 0 && mask[at] === 1

/** Counts the tokens of documents that are predicted and trained. */
export function countTargets(documents: readonly Pick<Document, 'mask'>[]): number {
  let count = 0
  for (const { mask } of documents) for (let i = 1; i < mask.length; i++) if (mask[i] === 1) count++
  return count
}

/** Counts the tokens of documents. */
export const countTokens = (documents: readonly Pick<Document, 'ids'>[]): number =>
  documents.reduce((sum, { ids }) => sum + ids.length, 0)
