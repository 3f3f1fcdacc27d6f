/** TensorRT Model Optimizer: NVFP4, 4-bit floats with a scale for each 16 inputs, and FP8. Activations stay as they are. */
import { malformed } from '../../../io/open.js'
import { readBytes, StoredCodes, type StoredFloats } from '../stored-codes.js'
import {
  type CheckpointTensors,
  countGroups,
  e4m3Values,
  matrixShape,
  type QuantisationFormat,
  readFinite,
} from './format.js'
import { e4m3Weight } from './fp8.js'

/** Inputs that share a scale. */
const GROUP = 16

/** Values of floats of 2 bits of exponent and one of fraction. */
const e2m1Values = Float32Array.of(0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6)

/** Values of `quant_algo`; tensors tell which weights have which of the formats. */
const algorithms = ['nvfp4', 'w4a16_nvfp4', 'fp8', 'fp8_per_channel_per_token', 'mixed_precision']

export const modelopt: QuantisationFormat = {
  method: 'modelopt',
  costs: { nvfp4: { training: 65, decoding: 3.7 } },
  weights(settings, tensors) {
    settings.require('quant_algo', algorithms, undefined)
    const [scaled] = tensors.modules('.pre_quant_scale')
    if (scaled !== undefined)
      throw settings.unsupported('pre_quant_scale', scaled, 'its inputs would have to be scaled first')
    return [
      ...tensors.modules('.weight_scale_2').map((module) => nvfp4Weight(module, tensors)),
      ...tensors.modules('.weight_scale').map((module) => {
        const scales = tensors.take(`${module}.weight_scale`, null, { dtypes: ['float32'] })
        return e4m3Weight(module, scales, scales.shape.length === 0 ? [null, null] : [1, null], tensors)
      }),
    ]
  },
}

/** w = 4-bit float · 8-bit scale of its group · scale of the whole weight; the even input has the low half of a byte. */
function nvfp4Weight(module: string, tensors: CheckpointTensors): StoredCodes {
  const name = `${module}.weight`
  const whole = tensors.take(`${module}.weight_scale_2`, null, { dtypes: ['float32'] })
  const codes = tensors.take(name, whole, { dtypes: ['uint8'] })
  const [rows, rowBytes] = matrixShape(codes)
  const columns = 2 * rowBytes
  const groups = countGroups(columns, GROUP, codes)
  const scales = tensors.take(`${module}.weight_scale`, codes, { dtypes: ['F8_E4M3'], shape: [rows, groups] })
  if (whole.shape.some((size) => size !== 1)) {
    throw malformed(whole.path, `${whole.name} is [${whole.shape.join(', ')}], but one scale was expected`)
  }
  return new StoredCodes({
    name,
    dtype: 'nvfp4',
    shape: [rows, columns],
    tensors: [codes, scales, whole],
    scales(open) {
      const bytes = readBytes(scales, open)
      const bad = bytes.findIndex((code) => (code & 0x7f) === 0x7f)
      if (bad >= 0) throw malformed(scales.path, `value ${bad} of ${scales.name} is not finite`)
      const { data } = readFinite(whole, open) as StoredFloats & { data: Float32Array }
      return {
        bits: 4,
        table: e2m1Values,
        groupSize: GROUP,
        scales: { codes: bytes, table: e4m3Values, scales: data, perScale: bytes.length, offset: 0 },
      }
    },
  })
}
