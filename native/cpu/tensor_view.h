// Helpers that every kernel of the CPU backend uses beside core/descriptor.h.
#pragma once
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <string>

#include "core/descriptor.h"
#include "core/error.h"

namespace mora::cpu {

/// Start of row `row` of a [rows, columns] view, for plain dtypes.
template <typename T>
T* rowOf(const TensorDesc& tensor, int64_t row) {
  return static_cast<T*>(tensor.data) + row * tensor.strides[0];
}

/// The same of a [tokens, heads, columns] view too, whose rows count head by head.
template <typename T>
T* headRowOf(const TensorDesc& tensor, int64_t row) {
  if (tensor.rank < 3) return rowOf<T>(tensor, row);
  const int64_t heads = tensor.shape[1];
  return static_cast<T*>(tensor.data) + row / heads * tensor.strides[0] + row % heads * tensor.strides[1];
}

/// count [1] i32 += added; what i32 cannot hold becomes its largest number.
inline void addCount(const TensorDesc& count, int64_t added) {
  auto* const value = static_cast<int32_t*>(count.data);
  *value = static_cast<int32_t>(std::min<int64_t>(*value + added, std::numeric_limits<int32_t>::max()));
}

[[noreturn]] inline void unsupported(const std::string& what) {
  throw Unsupported(what + " is not supported by the CPU backend");
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
