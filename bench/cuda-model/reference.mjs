// What the reference (a fork of PEFT 0.9) launches for one adapted linear layer at T tokens in bfloat16, operation by
// operation as PyTorch runs it: each reads its inputs from memory and writes its output there. Elements are counted, two
// bytes each; a gradient that autograd collects from several places is added up by one launch for each further place.

const bytesPerElement = 2

class Launches {
  list = []
  add(name, elements, more = {}) {
    this.list.push({ name, bytes: elements * bytesPerElement, flops: 0, ...more })
  }
  /** [rows, inner] times [inner, outer]. */
  product(name, rows, inner, outer) {
    const aligned = inner % 8 === 0 && outer % 8 === 0
    this.add(name, rows * inner + inner * outer + rows * outer, { flops: 2 * rows * inner * outer, aligned })
  }
}

/** The frozen product and its gradient with respect to the input. */
export function baseLaunches({ inFeatures: k, outFeatures: d }, T) {
  const launches = new Launches()
  launches.product('y = x W', T, k, d)
  launches.product('dX = dY W', T, d, k)
  return launches.list
}

/** `{forward, backward}` of the adapter beside it; `side` is R. */
export function referenceLaunches(operator, layer, side, T) {
  if (operator === 'rotation') return rotation(layer, side, T)
  if (operator === 'sharing') return sharing(layer, side, T)
  throw new RangeError(`Expected rotation or sharing for operator but received ${operator}.`)
}

function rotation({ inFeatures: k, outFeatures: d }, R, T) {
  const blocks = Math.ceil(k / R)
  const whole = blocks * R
  const forward = new Launches()
  const backward = new Launches()
  if (whole > k) forward.add('pad x', T * (k + whole))
  forward.add('negate one half of each block', T * whole)
  forward.add('join halves', 2 * T * whole)
  forward.add('times sines', 2 * T * whole)
  forward.add('times cosines', 2 * T * whole)
  forward.add('add', 3 * T * whole)
  forward.product('times M', T * blocks, R, R)
  if (whole < d) forward.add('tile', 2 * T * d)
  forward.add('add to y', 3 * T * d)

  cutOrTiled(backward, whole, d, T)
  backward.product('gradient of blocks', T * blocks, R, R)
  backward.product('gradient of M', R, T * blocks, R)
  for (const name of ['sines', 'cosines']) backward.add(`times ${name}`, 2 * T * whole)
  backward.add('negate one half of each block', T * whole)
  for (const half of ['first', 'second']) {
    backward.add(`zeros for the ${half} half`, T * whole)
    backward.add(`write the ${half} half`, T * whole)
    backward.add(`add the ${half} half`, 3 * T * whole)
  }
  unpadded(backward, whole, k, T)
  return { forward: forward.list, backward: backward.list }
}

function sharing({ inFeatures: k, outFeatures: d }, R, T) {
  const whole = Math.ceil(k / R) * R
  const forward = new Launches()
  const backward = new Launches()
  if (whole > k) forward.add('pad x', T * (k + whole))
  forward.add('sum blocks', T * (whole + R))
  forward.product('times M', T, R, R)
  forward.add('tile', 2 * T * d)
  forward.add('add to y', 3 * T * d)

  cutOrTiled(backward, R, d, T)
  backward.product('gradient of sums', T, R, R)
  backward.product('gradient of M', R, T, R)
  backward.add('expand to blocks', T * (whole + R))
  unpadded(backward, whole, k, T)
  return { forward: forward.list, backward: backward.list }
}

/** Gradient of `width` values that were tiled to d and cut there, or only cut. */
function cutOrTiled(launches, width, d, T) {
  const repeats = Math.ceil(d / width)
  if (repeats * width > d) {
    launches.add('zeros for what was cut', T * repeats * width)
    launches.add('write what was kept', 2 * T * d)
  }
  for (let repeat = 1; repeat < repeats; repeat++) launches.add('add a repeat', 3 * T * width)
}

/** Gradient of x out of that of its padded form, added to the frozen product's. */
function unpadded(launches, whole, k, T) {
  if (whole > k) {
    launches.add('zeros for the padding', T * k)
    launches.add('write the padding', 2 * T * (whole - k))
    launches.add('add the padding', 3 * T * k)
  }
  launches.add('add to dX', 3 * T * k)
}
