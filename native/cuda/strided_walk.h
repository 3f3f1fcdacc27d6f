// How copies walk tensors of any strides: dimensions are reordered and merged, so that the inner one, the columns, runs
// over as many contiguous elements of the target as possible.
#pragma once
#include <algorithm>
#include <cstdlib>

#include "cuda/device_code.h"
#include "cuda/tensor_view.h"
#include "cuda/vector.h"

namespace mora::cuda {

/// A walk over N tensors of one shape, as rows and columns, in the memory order of the last tensor.
template <int N>
struct StridedWalk {
  struct Dimension {
    int64_t size;
    int64_t strides[N];
  };

  int32_t outer = 0;  // number of dimensions of the rows
  Dimension dimensions[kMaxRank];
  Dimension inner{1, {}};  // the columns
  int64_t rows = 1;

  explicit StridedWalk(const TensorDesc* const (&tensors)[N]) {
    int32_t count = 0;
    for (int32_t d = 0; d < tensors[0]->rank; ++d) {
      Dimension dimension{tensors[0]->shape[d], {}};
      for (int t = 0; t < N; ++t) dimension.strides[t] = tensors[t]->strides[d];
      if (dimension.size != 1) dimensions[count++] = dimension;
    }
    std::stable_sort(dimensions, dimensions + count, [](const Dimension& a, const Dimension& b) {
      return std::abs(a.strides[N - 1]) > std::abs(b.strides[N - 1]);
    });
    for (int32_t d = 0; d < count; ++d) {
      if (outer > 0 && follows(dimensions[outer - 1], dimensions[d])) {
        dimensions[d].size *= dimensions[outer - 1].size;
        --outer;
      }
      dimensions[outer++] = dimensions[d];
    }
    if (outer > 0) inner = dimensions[--outer];
    if (inner.size == 1) std::fill_n(inner.strides, N, 1);
    for (int32_t d = 0; d < outer; ++d) rows *= dimensions[d].size;
  }

  bool empty() const { return rows == 0 || inner.size == 0; }

  /// Whether columns can be copied `width` at a time in all tensors.
  bool fits(const TensorDesc* const (&tensors)[N], int width) const {
    bool all = inner.size % width == 0;
    for (int t = 0; t < N; ++t) {
      const int64_t size = traitsOf(tensors[t]->dtype).blockBytes;
      const int64_t access = std::min<int64_t>(kVectorBytes, size * width);
      all = all && inner.strides[t] == 1;
      all = all && reinterpret_cast<uintptr_t>(tensors[t]->data) % static_cast<uintptr_t>(access) == 0;
      for (int32_t d = 0; d < outer; ++d) all = all && dimensions[d].strides[t] * size % access == 0;
    }
    return all;
  }

  /// The offset of an element in each tensor.
  __device__ __forceinline__ void locate(int64_t row, int64_t column, int64_t (&offsets)[N]) const {
#pragma unroll
    for (int t = 0; t < N; ++t) offsets[t] = column * inner.strides[t];
#pragma unroll
    for (int32_t d = kMaxRank - 2; d >= 0; --d) {
      if (d >= outer) continue;
      const int64_t above = d > 0 ? row / dimensions[d].size : 0, at = row - above * dimensions[d].size;
      row = above;
#pragma unroll
      for (int t = 0; t < N; ++t) offsets[t] += at * dimensions[d].strides[t];
    }
  }

 private:
  static bool follows(const Dimension& outside, const Dimension& inside) {
    bool all = true;
    for (int t = 0; t < N; ++t) all = all && outside.strides[t] == inside.strides[t] * inside.size;
    return all;
  }
};

}  // namespace mora::cuda
