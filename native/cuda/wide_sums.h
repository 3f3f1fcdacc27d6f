// Sums in f64 in an order that depends only on the number of elements: chunks of a fixed length are summed in parallel,
// one block each, then one block sums the chunks' sums.
#pragma once
#include <type_traits>

#include "cuda/block_reduce.h"
#include "cuda/device_code.h"
#include "cuda/runtime/context.h"
#include "cuda/vector.h"

namespace mora::cuda {

constexpr int64_t kChunk = 8192;  // a multiple of every vector
constexpr unsigned kChunkThreads = 256;

/// Calls body(i, std::integral_constant<int, N>) for this thread's share of [0, count): whole vectors of N elements
/// first, single ones (with 1 for N) at the end.
template <int N, typename Body>
__device__ __forceinline__ void forVectors(int64_t count, Body&& body) {
  const int64_t whole = count / N * N;
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < whole; i += static_cast<int64_t>(blockDim.x) * N)
    body(i, std::integral_constant<int, N>{});
  for (int64_t i = whole + threadIdx.x; i < count; i += blockDim.x) body(i, std::integral_constant<int, 1>{});
}

/// This block's sum of term(x[i]) over i < count; `shared` has room for kChunkThreads values.
template <int N, typename T, typename Term>
__device__ __forceinline__ double chunkSum(const T* x, int64_t count, Term&& term, double* shared) {
  double sum = 0;
  forVectors<N>(count, [&](int64_t i, auto width) {
    constexpr int kWidth = decltype(width)::value;
    float values[kWidth];
    load(x + i, values);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += term(values[j]);
  });
  return blockSumWide(sum, shared);
}

/// Calls finish(the sum of partials [count]) on one thread of one block.
template <typename Finish>
__global__ void __launch_bounds__(kChunkThreads) finishSum(const double* partials, int64_t count, Finish finish) {
  MORA_SHARED(double, sums, [kChunkThreads]);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kChunkThreads) sum += partials[i];
  const double total = blockSumWide(sum, sums);
  if (threadIdx.x == 0) finish(total);
}

/// Launches that over the partials of `count` chunks.
template <typename Finish>
void finishSums(Context& context, const double* partials, int64_t count, Finish finish) {
  expectCost(static_cast<uint64_t>(count) * sizeof(double), sizeof(float));
  launch(finishSum<Finish>, dim3(1), dim3(kChunkThreads), 0, context.stream, partials, count, finish);
}

/// Memory for the sums of chunks.
inline double* partialSums(Context& context, int64_t chunks) {
  return static_cast<double*>(context.scratch(Slot::partials, static_cast<size_t>(chunks + 1) * sizeof(double)));
}

}  // namespace mora::cuda
