/** Options of the library's functions that describe an adapter: those of the command line, and a few beside them. */
import { z } from 'zod'
import { newAdapterFields } from './new-adapter.js'
import { flag, optionalReal } from './option.js'

const { rank, dropout, targetModules, rankPattern, modulesToSave } = newAdapterFields
const shared = { rank, dropout, targetModules, rankPattern, modulesToSave }
const { operator, roundRank, alpha, alphaPattern, loraPlusRatio } = newAdapterFields

/** Of methods that have no option of their own. */
export const AdapterSchema = z.strictObject(shared)

export const MoraSchema = z.strictObject({
  ...shared,
  operator,
  roundRank,
  scale: optionalReal('ΔW is multiplied by this'),
  foldOutput: flag('add the outputs past the last one to the first ones'),
})

export const LowRankSchema = z.strictObject({ ...shared, alpha, alphaPattern })

export const LoraPlusSchema = z.strictObject({ ...shared, alpha, alphaPattern, loraPlusRatio })
