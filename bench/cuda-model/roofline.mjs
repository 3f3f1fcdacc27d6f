// Predicted times by the roofline: a launch takes as long as its bytes at the memory's rate or its arithmetic at the
// tensor cores' rate, whichever is longer. Nothing is added for launching, and no kernel is assumed to fall short; but
// products of bfloat16 whose operands do not lie on 16 bytes run on the kernels of the generation before.

/**
 * An H100 SXM: HBM3 bandwidth, and what large products of bfloat16 reach. TMA and wgmma take operands on 16 bytes only
 * (CUTLASS, sm90_gemm_builder.inl); for others cuBLAS falls back to `cutlass_80_tensorop_…_align2`. A product with K = 588
 * was measured at 130.56 µs so, and at 36.96 µs with K = 592 (github.com/m87-labs/kestrel/pull/143): a factor of 3.5.
 */
export const H100 = {
  name: 'H100',
  bytesPerSecond: 3.35e12,
  flopsPerSecond: 800e12,
  unalignedFlopsPerSecond: 800e12 / 3.5,
  float32FlopsPerSecond: 60e12,
}

/** Predicted microseconds of one launch, `{bytes, flops, float32?, aligned?}`. */
export function microseconds({ bytes, flops, float32 = false, aligned = true }, device = H100) {
  const narrow = aligned ? device.flopsPerSecond : device.unalignedFlopsPerSecond
  const rate = float32 ? device.float32FlopsPerSecond : narrow
  return Math.max(bytes / device.bytesPerSecond, flops / rate) * 1e6
}

export const totalMicroseconds = (launches, device = H100) =>
  launches.reduce((sum, launch) => sum + microseconds(launch, device), 0)
