// Views of descriptors that kernels take.
#pragma once
#include <cstdint>

#include "core/descriptor.h"
#include "cuda/device_code.h"
#include "cuda/runtime/check.h"

namespace mora::cuda {

constexpr int64_t ceilDivide(int64_t count, int64_t size) { return (count + size - 1) / size; }

/// What a kernel sees of a [rows, columns] view: rows may be apart, the elements of one lie side by side.
template <typename T>
struct Rows {
  T* data;
  int64_t stride;  // in elements, from row to row

  __device__ __forceinline__ T* at(int64_t row) const { return data + row * stride; }
};

template <typename T>
Rows<T> rowsOf(const TensorDesc& tensor) {
  return {static_cast<T*>(tensor.data), tensor.strides[0]};
}

}  // namespace mora::cuda
