/** Texts of random tokens among those that a constraint allows. */
import type { Constraint } from '../../../lib/generate/constraints/constraint.js'
import type { Tokenizer } from '../../../lib/text/tokenizer.js'
import { pick, type Random } from '../../fuzz/random.js'

/** Tokens that bring a text nearer to its end. */
const CLOSING = ['"', '}', ']', '@', '.']

export interface WrittenText {
  text: string
  /** Whether the constraint came to its end. */
  isComplete: boolean
  tokens: number
}

/** Whether bytes are UTF-8, perhaps with a character that is not complete. */
function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
    return true
  } catch {
    return false
  }
}

/** Writes a text of UTF-8; after `free` tokens, those are preferred that end it. */
export async function written(
  constraint: Constraint,
  bytes: readonly Uint8Array[],
  eosId: number,
  random: Random,
  free = 40,
): Promise<WrittenText> {
  const closing = CLOSING.map((mark) => bytes.findIndex((one) => Buffer.from(one).toString() === mark))
  const textOf = (ids: readonly number[]) => Buffer.concat(ids.map((id) => bytes[id]!))
  const ids: number[] = []
  while (!constraint.done && ids.length < free + 3000) {
    const mask = await constraint.mask()
    const isAllowed = (id: number) => ((mask[id >> 5]! >>> (id & 31)) & 1) === 1
    const allowed = bytes.flatMap((_, id) => (isAllowed(id) ? id : []))
    if (allowed.length === 0) break
    const isEnding = ids.length >= free && (isAllowed(eosId) || isAllowed(closing[0]!) || random.uniform() < 0.5)
    const [first, second, ...others] = [eosId, ...closing]
    const endings = [[first!], [second!], others].map((ids) => ids.filter(isAllowed)).find((ids) => ids.length > 0)
    const ending = isEnding && endings ? pick(random, endings) : undefined
    const shortest = allowed.filter((id) => bytes[id]!.length <= 1)
    const id = ending ?? pick(random, ids.length < free || shortest.length === 0 ? allowed : shortest)
    if (!isUtf8(textOf([...ids, id]))) continue
    constraint.accept(id)
    ids.push(id)
  }
  return { text: textOf(ids).toString(), isComplete: constraint.done, tokens: ids.length }
}

/** Whether a text is allowed, byte by byte, and complete. */
export async function allows(
  constraint: Constraint,
  text: string,
  { bytes, eosId }: { bytes: readonly Uint8Array[]; eosId: number },
): Promise<boolean> {
  constraint.reset()
  try {
    for (const byte of Buffer.from(text)) {
      await constraint.mask()
      constraint.accept(bytes.findIndex((one) => one.length === 1 && one[0] === byte))
    }
    await constraint.mask()
    constraint.accept(eosId)
  } catch {
    return false
  }
  return constraint.done
}

/** Returns the bytes of each token. */
export const bytesOf = ({ vocabularySize, specialIds, tokenBytes }: Tokenizer): Uint8Array[] =>
  Array.from({ length: vocabularySize }, (_, id) => (specialIds.has(id) ? new Uint8Array() : tokenBytes!.of(id)))
