// Sums and maxima over the threads of a block (one dimension, whole warps), in an order that depends only on the number
// of threads. Every thread calls them and gets the result. `shared` has room for one value per warp (kWarp always
// suffices) and may be reused at once.
#pragma once
#include "cuda/device_code.h"

namespace mora::cuda {

/// `partial` contains one value per warp; all threads get combine(... combine(partial[0], partial[1]) ...).
template <typename Number, typename Combine>
__device__ __forceinline__ Number combineWarps(Number value, Number* shared, Combine&& combine) {
  const unsigned warps = blockDim.x / kWarp;
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  Number result = shared[0];
  for (unsigned warp = 1; warp < warps; ++warp) result = combine(result, shared[warp]);
  __syncthreads();
  return result;
}

__device__ __forceinline__ float blockSum(float value, float* shared) {
  return combineWarps(warpSum(value), shared, [](float a, float b) { return a + b; });
}

__device__ __forceinline__ float blockMax(float value, float* shared) {
  return combineWarps(warpMax(value), shared, [](float a, float b) { return fmaxf(a, b); });
}

/// Sum of f64 values, pairwise; `shared` has room for one value per thread and may be reused after the next barrier.
__device__ __forceinline__ double blockSumWide(double value, double* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned count = blockDim.x; count > 1;) {
    const unsigned half = (count + 1) / 2;
    if (threadIdx.x + half < count) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
    count = half;
  }
  return shared[0];
}

}  // namespace mora::cuda
