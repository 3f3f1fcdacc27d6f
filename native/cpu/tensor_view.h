// Helpers for all kernels of the CPU backend, in addition to core/descriptor.h.
#pragma once
#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>

#include "core/descriptor.h"
#include "core/error.h"
#include "cpu/scratch.h"

namespace mora::cpu {

/// Start of row `row` of a [rows, columns] view, for plain dtypes.
template <typename T>
T* rowOf(const TensorDesc& tensor, int64_t row) {
  return static_cast<T*>(tensor.data) + row * tensor.strides[0];
}

/// Start of a row of a [rows, columns] or [tokens, heads, columns] view; the latter's rows are counted head by head.
template <typename T>
T* headRowOf(const TensorDesc& tensor, int64_t row) {
  if (tensor.rank < 3) return rowOf<T>(tensor, row);
  const int64_t heads = tensor.shape[1];
  return static_cast<T*>(tensor.data) + row / heads * tensor.strides[0] + row % heads * tensor.strides[1];
}

/// count [1] i32 += added, saturating.
inline void addCount(const TensorDesc& count, int64_t added) {
  auto* const value = static_cast<int32_t*>(count.data);
  *value = static_cast<int32_t>(std::min<int64_t>(*value + added, std::numeric_limits<int32_t>::max()));
}

[[noreturn]] inline void unsupported(const std::string& what) {
  throw Unsupported(what + " is not supported by the CPU backend");
}

}  // namespace mora::cpu
