/** The library's methods: a new one is a file and its lines here. The main entry exports everything here except the list. */
import { asyloraMethod } from './methods/asylora.js'
import { deloraMethod } from './methods/delora.js'
import { doraMethod } from './methods/dora.js'
import { graloraMethod } from './methods/gralora.js'
import { hiraMethod } from './methods/hira.js'
import { lohaMethod } from './methods/loha.js'
import { loraFaMethod, loraMethod, loraPlusMethod, rsloraMethod } from './methods/lora.js'
import { missMethod } from './methods/miss.js'
import { moraMethod } from './methods/mora.js'
import { oftMethod } from './methods/oft.js'
import { pissaMethod } from './methods/pissa.js'
import { randloraMethod } from './methods/randlora.js'
import { shiraMethod } from './methods/shira.js'
import { veraMethod } from './methods/vera.js'

export { type AsyLoraConfig, asylora } from './methods/asylora.js'
export { type DeloraConfig, delora } from './methods/delora.js'
export { dora } from './methods/dora.js'
export { type GraloraConfig, gralora } from './methods/gralora.js'
export { hira } from './methods/hira.js'
export { loha } from './methods/loha.js'
export {
  type LoraPlusConfig,
  lora,
  loraFa,
  loraPlus,
  rslora,
} from './methods/lora.js'
export type { LowRankConfig, LowRankOptions } from './methods/low-rank.js'
export { miss } from './methods/miss.js'
export { type MoraConfig, mora, type Operator, operators } from './methods/mora.js'
export { squareSide } from './methods/mora-operators.js'
export { type OftConfig, oft } from './methods/oft.js'
export type { PermutationKey } from './methods/permutation.js'
export { pissa } from './methods/pissa.js'
export { type RandloraConfig, randlora } from './methods/randlora.js'
export { shira } from './methods/shira.js'
export { type VeraConfig, vera } from './methods/vera.js'

/** In the order of help. */
export default [
  moraMethod,
  loraMethod,
  rsloraMethod,
  loraPlusMethod,
  asyloraMethod,
  loraFaMethod,
  doraMethod,
  pissaMethod,
  missMethod,
  hiraMethod,
  graloraMethod,
  shiraMethod,
  oftMethod,
  randloraMethod,
  veraMethod,
  deloraMethod,
  lohaMethod,
] as const
