/**
 * MoRA for one layer, without a model: gradient descent finds the matrix that another layer of the same shape has.
 *
 *     node examples/one-layer.ts [steps]                          (Node 22.18 or newer; before: npx tsx examples/one-layer.ts)
 */
import { type Float32Tensor, moraLayer } from 'node-mora'

const steps = Number(process.argv[2] ?? 200)
const [inFeatures, outFeatures, rows] = [96, 64, 128]
const layer = moraLayer({ inFeatures, outFeatures, rank: 4, operator: 'rotation', device: 'cpu' })
const side = layer.squareSide
console.log(`${inFeatures} → ${outFeatures} with the parameters of LoRA of rank 4: a matrix of ${side} × ${side}`)

/** A simple pseudo-random generator, the same numbers each time. */
let state = 1
const values = (length: number, scale: number) =>
  Float32Array.from({ length }, () => {
    state = (state * 48271) % 2147483647
    return (state / 2147483647 - 0.5) * scale
  })

const x = values(rows * inFeatures, 2)
const W = values(outFeatures * inFeatures, 0.2)

/** Copies the values to the host, and frees the tensor. */
async function read(tensor: Float32Tensor): Promise<Float32Array> {
  const numbers = await tensor.data()
  tensor.dispose()
  return numbers
}

const target = await read(layer.forward(x, W, values(side * side, 0.5)))

const M = new Float32Array(side * side) // MoRA starts at zero: y is W x
for (let step = 1; step <= steps; step++) {
  const y = await read(layer.forward(x, W, M))
  const difference = y.map((value, i) => value - target[i]!)
  const error = difference.reduce((sum, value) => sum + value ** 2, 0) / y.length
  if (step === 1 || step % 50 === 0) console.log(`step ${step}  mean squared error ${error.toExponential(2)}`)

  const { dX, dM } = layer.backward(x, W, M, difference)
  dX.dispose()
  const gradient = await read(dM)
  for (let i = 0; i < M.length; i++) M[i]! -= gradient[i]! / rows
}

const delta = layer.delta(M) // the matrix that a merge adds to W
console.log(`ΔW is [${delta.shape.join(', ')}]`)
delta.dispose()
