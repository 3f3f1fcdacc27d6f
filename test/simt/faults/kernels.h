// Kernels with planted faults, and one without. `Fault` says what is wrong with an instance.
#pragma once
#include "cuda/device_code.h"

namespace planted {

constexpr unsigned kThreads = 64;

enum class Barrier { right, leftOut, removed, twoPlaces };

/// Writes the block's sum of x [blocks, kThreads] to every element of y.
template <Barrier kind>
__global__ void __launch_bounds__(kThreads) blockSums(const float* x, float* y) {
  MORA_SHARED(float, partial, [kThreads / 32]);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x, warp = threadIdx.x / 32;
  const float sum = mora::cuda::warpSum(x[i]);
  if (threadIdx.x % 32 == 0) partial[warp] = sum;
  if constexpr (kind == Barrier::right) {
    __syncthreads();
  } else if constexpr (kind == Barrier::leftOut) {
    if (warp == 0) __syncthreads();
  } else if constexpr (kind == Barrier::twoPlaces) {
    if (warp == 0)
      __syncthreads();
    else
      __syncthreads();
  }
  y[i] = partial[0] + partial[1];
}

/// y [blocks, kThreads] = x with the elements of each row rotated by `rounds`, one place a round, through one row of
/// shared memory. With `removed` the barrier that ends a round is missing: the next one overwrites what this one still
/// reads.
template <bool removed>
__global__ void __launch_bounds__(kThreads) rotateRow(const float* x, float* y, int rounds) {
  MORA_SHARED(float, row, [kThreads]);
  const unsigned i = blockIdx.x * kThreads + threadIdx.x;
  float value = x[i];
  for (int round = 0; round < rounds; ++round) {
    row[threadIdx.x] = value;
    __syncthreads();
    value = row[(threadIdx.x + 1) % kThreads];
    if constexpr (!removed) __syncthreads();
  }
  y[i] = value;
}

enum class Copy { right, notAwaited, noBarrier, intoUse, misaligned };

/// Copies x [2, kThreads] to y through one row of shared memory, 16 bytes a copy, which other threads read.
template <Copy kind>
__global__ void __launch_bounds__(kThreads) copyRows(const float* x, float* y) {
  MORA_SHARED(float, row, [kThreads + 4]);
  for (unsigned r = 0; r < 2; ++r) {
    if (threadIdx.x < kThreads / 4) {
      constexpr unsigned kOffset = kind == Copy::misaligned;
      mora::cuda::copyAsync16(row + 4 * threadIdx.x, x + r * kThreads + 4 * threadIdx.x + kOffset);
    }
    if constexpr (kind != Copy::notAwaited) mora::cuda::waitForCopies();
    if constexpr (kind != Copy::noBarrier) __syncthreads();
    y[r * kThreads + threadIdx.x] = row[threadIdx.x];
    if constexpr (kind != Copy::intoUse) __syncthreads();
  }
}

/// Sets element i of y to 1; with `overlap` the blocks write the same elements.
__global__ inline void writeOnes(float* y, bool overlap) {
  y[overlap ? threadIdx.x : blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

/// Copies element i + offset of x to y, Vector by Vector.
template <typename Vector>
__global__ void copyFrom(const float* x, float* y, int offset) {
  reinterpret_cast<Vector*>(y)[threadIdx.x] = reinterpret_cast<const Vector*>(x + offset)[threadIdx.x];
}

/// y [kThreads]: the content of static (or dynamic) shared memory before any write.
__global__ inline void readUnwrittenShared(float* y) {
  MORA_SHARED(float, fixed, [kThreads]);
  MORA_DYNAMIC_SHARED(float, dynamic);
  y[threadIdx.x] = threadIdx.x % 2 ? fixed[threadIdx.x] : dynamic[threadIdx.x];
}

/// Writes one element after the end of static shared memory if offset is kThreads.
__global__ inline void writeShared(float* y, int offset) {
  MORA_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = 1;
  if (threadIdx.x == 0) *(values + offset) = 2;
  y[threadIdx.x] = values[threadIdx.x];
}

/// A shuffle in which half of the warp does not participate, although it is in the mask.
__global__ inline void shuffleHalf(float* y) {
  if (threadIdx.x % 2 == 0)
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 2);
  else
    y[threadIdx.x] = __shfl_xor_sync(0xaaaaaaaau, 1.0f, 2);
}

/// Neighbouring lanes swap numbers through shared memory. Instead of the barrier there is a shuffle, which does not
/// order memory.
template <bool barrier>
__global__ void swapNeighbours(float* y) {
  MORA_SHARED(float, row, [kThreads]);
  row[threadIdx.x] = static_cast<float>(threadIdx.x);
  if constexpr (barrier)
    __syncwarp();
  else
    __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  y[threadIdx.x] = row[threadIdx.x ^ 1];
}

/// The last block to arrive sums what the blocks have written; without the fence that may not be visible yet.
template <bool fence>
__global__ void addBlocks(float* y, unsigned* arrived, float* total) {
  if (threadIdx.x != 0) return;
  y[blockIdx.x] = 1;
  if constexpr (fence) __threadfence();
  if (atomicAdd(arrived, 1) + 1 != gridDim.x) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += y[i];
  *total = sum;
}

}  // namespace planted
