// Template parameters of MoRA's kernels: R is often no multiple of 8, so they come in several widths.
#pragma once
#include <type_traits>

#include "cuda/tensor_view.h"
#include "cuda/vector.h"

namespace mora::cuda {

/// Calls body(std::integral_constant<int, N>) with the largest N of 8, 4, 2 and 1 for which fits(N).
template <typename Fits, typename Body>
void withWidest(Fits&& fits, Body&& body) {
  if (fits(8)) return body(std::integral_constant<int, 8>{});
  if (fits(4)) return body(std::integral_constant<int, 4>{});
  if (fits(2)) return body(std::integral_constant<int, 2>{});
  body(std::integral_constant<int, 1>{});
}

/// Whether every row is aligned for reads of N elements, for any number of columns.
inline bool rowsAligned(TensorDesc rows, int width) {
  rows.shape[rows.rank - 1] = width;
  return rowsFit(rows, width);
}

/// Adds to a count, if there is one; saturates, since the sum could become negative.
__device__ __forceinline__ void addToCount(int32_t* count, int32_t added) {
  constexpr int32_t kEnough = 1 << 30;
  if (count && added > 0 && atomicAdd(count, 0) < kEnough) atomicAdd(count, added);
}

/// to[i] += scale delta[i] for N neighbouring values; returns the number of non-finite results among those whose bit is
/// set.
template <typename T, int N>
__device__ __forceinline__ int32_t mergeVector(const float (&delta)[N], float scale, T* to, unsigned counted = ~0u) {
  float merged[N];
  load(to, merged);
  int32_t count = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    merged[i] += scale * delta[i];
    count += (counted >> i & 1u) != 0 && !isfinite(toFloat(fromFloat<T>(merged[i]))) ? 1 : 0;
  }
  store(merged, to);
  return count;
}

}  // namespace mora::cuda
