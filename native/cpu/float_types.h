// From an element type in a descriptor to a C++ type in a template, and the checks that guard such a step.
#pragma once
#include <hwy/base.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cpu/tensor_view.h"

namespace mora::cpu {

using hwy::bfloat16_t;
using hwy::float16_t;

/// Calls body(T{}) with the C++ type of f32 or bf16, the types of activations.
template <typename Body>
void withActivationType(DType type, const char* operation, Body&& body) {
  switch (type) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(bfloat16_t{});
    default:
      unsupported(std::string(operation) + " of " + traitsOf(type).name);
  }
}

/// Calls body(T{}) with the C++ type of f32, bf16 or f16.
template <typename Body>
void withFloatType(DType type, const char* operation, Body&& body) {
  if (type == DType::f16) return body(float16_t{});
  withActivationType(type, operation, body);
}

inline void requireType(const char* operation, const TensorDesc& tensor, DType type) {
  if (tensor.dtype == type) return;
  throw std::invalid_argument(std::string(operation) + " expected " + traitsOf(type).name + " but received " +
                              traitsOf(tensor.dtype).name + "; convert it with copy first");
}

/// Rows may lie anywhere, but the elements of a row must follow each other.
inline void requireContiguousRows(const char* operation, const TensorDesc& tensor) {
  if (tensor.rank == 0 || columnsOf(tensor) <= 1 || tensor.strides[tensor.rank - 1] == 1) return;
  throw std::invalid_argument(std::string(operation) + " expected a last dimension of stride 1 but received stride " +
                              std::to_string(tensor.strides[tensor.rank - 1]) + "; make the tensor contiguous first");
}

/// Element i of a rank 1 view (or the only element of a scalar).
template <typename T>
T& elementOf(const TensorDesc& tensor, int64_t i) {
  return static_cast<T*>(tensor.data)[tensor.rank == 0 ? 0 : i * tensor.strides[tensor.rank - 1]];
}

/// Every index of the i32 list `indices` must lie in [0, limit).
inline void requireIndices(const char* operation, const TensorDesc& indices, int64_t limit) {
  requireType(operation, indices, DType::i32);
  const int64_t count = elementsOf(indices);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t index = elementOf<const int32_t>(indices, i);
    if (index >= 0 && index < limit) continue;
    throw std::out_of_range(std::string(operation) + " expected indices below " + std::to_string(limit) +
                            " but index " + std::to_string(i) + " is " + std::to_string(index));
  }
}

}  // namespace mora::cpu
