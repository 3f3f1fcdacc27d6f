// Views of tensors for kernels.
#pragma once
#include <cstdint>

#include "core/descriptor.h"
#include "cuda/device_code.h"
#include "cuda/runtime/check.h"

namespace mora::cuda {

constexpr int64_t ceilDivide(int64_t count, int64_t size) { return (count + size - 1) / size; }

/// A [rows, columns] view for kernels: rows may have any stride, their elements are contiguous.
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
