// Maps element types in descriptors to C++ types in templates, and checks indices that are data.
#pragma once
#include <hwy/base.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "cpu/tensor_view.h"

namespace mora::cpu {

using hwy::bfloat16_t;
using hwy::float16_t;

/// Calls body(T{}) with the C++ type of f32, bf16 or f16.
template <typename Body>
void withFloatType(DType type, const char* operation, Body&& body) {
  switch (type) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(bfloat16_t{});
    case DType::f16:
      return body(float16_t{});
    default:
      unsupported(std::string(operation) + " of " + traitsOf(type).name);
  }
}

/// Throws unless every index of the dense i32 list `indices` is in [0, limit).
inline void requireIndices(const char* operation, const TensorDesc& indices, int64_t limit) {
  const int64_t count = elementsOf(indices);
  const auto* values = static_cast<const int32_t*>(indices.data);
  // Without a way out, compilers vectorise the loop; a negative index is a large one.
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, static_cast<uint32_t>(values[i]));
  if (count == 0 || static_cast<int64_t>(largest) < limit) return;
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] >= 0 && values[i] < limit) continue;
    throw std::out_of_range(std::string(operation) + " expected indices in [0, " + std::to_string(limit) +
                            ") but index " + std::to_string(i) + " is " + std::to_string(values[i]));
  }
}

}  // namespace mora::cpu
