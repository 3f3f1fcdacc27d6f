import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { BaseModel } from '../contract/base-model.js'
import type { AdapterProvenance } from './stored-adapter.js'

/**
 * Throws if an adapter was trained on another base, as far as both are known. The same weights in another format are another
 * base, too, since their values differ.
 */
export function requireSameBase(folder: string, { baseHash, baseFormat }: AdapterProvenance, base: BaseModel): void {
  if (baseHash === undefined) return
  const identity = base.identity()
  if (!identity || identity.hash === baseHash) return
  const described = (hash: string, format = 'an unknown format') => `sha256 ${hash.slice(0, 12)}…, ${format}`
  throw new UsageError(
    'other-base',
    `The adapter ${folder} was trained on another base model (${described(baseHash, baseFormat)}) than this one ` +
      `(${described(identity.hash, identity.format)}): use the base that it was trained on, or allow the other one with ${optionName('allowOtherBase')}.`,
  )
}
