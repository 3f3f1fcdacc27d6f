// Small helpers that host code of the CUDA backend uses to walk descriptors.
#pragma once
#include <cstdint>
#include <string>

#include "core/backend.h"
#include "core/error.h"

namespace mora::cuda {

inline bool present(const TensorDesc& tensor) { return tensor.data != nullptr; }

inline int64_t elementsOf(const TensorDesc& tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
}

/// Bytes of a tensor's elements; 0 without data.
inline uint64_t bytesIn(const TensorDesc& tensor) {
  if (!present(tensor)) return 0;
  return static_cast<uint64_t>(elementsOf(tensor) * traitsOf(tensor.dtype).blockBytes);
}

/// Width of the last dimension; 1 for a scalar.
inline int64_t columnsOf(const TensorDesc& tensor) { return tensor.rank == 0 ? 1 : tensor.shape[tensor.rank - 1]; }

/// True if all elements lie one after the other.
inline bool isDense(const TensorDesc& tensor) {
  int64_t expected = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

[[noreturn]] inline void unsupported(const std::string& what) {
  throw Error("unsupported", what + " is not supported by the CUDA backend.");
}

}  // namespace mora::cuda
