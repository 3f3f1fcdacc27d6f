// Small helpers that every kernel of the CPU backend uses to walk descriptors.
#pragma once
#include <hwy/aligned_allocator.h>

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

#include "core/backend.h"

namespace mora::cpu {

inline bool present(const TensorDesc& tensor) { return tensor.data != nullptr; }

inline int64_t elementsOf(const TensorDesc& tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
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

/// Start of row `row` of a [rows, columns] view, for plain dtypes.
template <typename T>
T* rowOf(const TensorDesc& tensor, int64_t row) {
  return static_cast<T*>(tensor.data) + row * tensor.strides[0];
}

[[noreturn]] inline void unsupported(const std::string& what) {
  throw std::invalid_argument(what + " is not supported by the CPU backend");
}

/// Scratch memory of the calling thread, 64-byte aligned and grown as needed; valid until the next call with the same
/// slot.
template <int Slot>
void* scratch(size_t bytes) {
  thread_local hwy::AlignedFreeUniquePtr<std::byte[]> memory;
  thread_local size_t capacity = 0;
  if (bytes > capacity) {
    memory = hwy::AllocateAligned<std::byte>(bytes);
    if (!memory) throw std::bad_alloc();
    capacity = bytes;
  }
  return memory.get();
}

}  // namespace mora::cpu
