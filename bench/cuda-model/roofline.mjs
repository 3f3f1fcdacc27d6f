// Predicted times by the roofline: a launch takes as long as its bytes at the memory's rate or its arithmetic at the
// tensor cores' rate, whichever is longer. Nothing is added for launching, and no kernel is assumed to fall short.

/** An H100 SXM: HBM3 bandwidth, and what large products of bfloat16 reach. */
export const H100 = { name: 'H100', bytesPerSecond: 3.35e12, flopsPerSecond: 800e12, float32FlopsPerSecond: 60e12 }

/** Predicted microseconds of one launch, `{bytes, flops, float32?}`. */
export function microseconds({ bytes, flops, float32 = false }, device = H100) {
  const rate = float32 ? device.float32FlopsPerSecond : device.flopsPerSecond
  return Math.max(bytes / device.bytesPerSecond, flops / rate) * 1e6
}

export const totalMicroseconds = (launches, device = H100) =>
  launches.reduce((sum, launch) => sum + microseconds(launch, device), 0)
