// Small helpers for descriptors.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/backend.h"

namespace mora {

inline bool present(const TensorDesc& tensor) { return tensor.data != nullptr; }

inline int64_t elementsOf(const TensorDesc& tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
}

/// Bytes of a tensor's elements; 0 if absent.
inline uint64_t bytesOf(const TensorDesc& tensor) {
  return present(tensor) ? bytesFor(tensor.dtype, elementsOf(tensor)) : 0;
}

inline uint64_t bytesOf(const CodedMatrix& matrix) {
  return bytesOf(matrix.codes) + bytesOf(matrix.scales) + bytesOf(matrix.zeros) + bytesOf(matrix.groups) +
         bytesOf(matrix.scaleScales);
}

/// Width of the last dimension; 1 for a scalar.
inline int64_t columnsOf(const TensorDesc& tensor) { return tensor.rank == 0 ? 1 : tensor.shape[tensor.rank - 1]; }

/// Number of rows of the last dimension.
inline int64_t rowsIn(const TensorDesc& tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i + 1 < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
}

/// True if all elements are contiguous.
inline bool isDense(const TensorDesc& tensor) {
  int64_t expected = 1;
  for (int32_t i = tensor.rank - 1; i >= 0; --i) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

/// Calls body(std::integral_constant<Activation, f>).
template <typename Body>
void withActivation(Activation f, Body&& body) {
  switch (f) {
#define MORA_ACTIVATION(name) \
  case Activation::name:      \
    return body(std::integral_constant<Activation, Activation::name>());
#include "core/operations.def"
  }
  throw std::invalid_argument("there is no activation " + std::to_string(static_cast<int32_t>(f)));
}

/// Calls body(std::integral_constant<Elementwise, f>).
template <typename Body>
void withElementwise(Elementwise f, Body&& body) {
  switch (f) {
#define MORA_ELEMENTWISE(name, operands) \
  case Elementwise::name:                \
    return body(std::integral_constant<Elementwise, Elementwise::name>());
#include "core/operations.def"
  }
  throw std::invalid_argument("there is no function of elements " + std::to_string(static_cast<int32_t>(f)));
}

/// Calls body(U{}) with the unsigned type of a plain dtype's width, for code that only moves bits.
template <typename Body>
void withBits(DType type, Body&& body) {
  switch (traitsOf(type).blockBytes) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(uint32_t{});
    case 8:
      return body(uint64_t{});
    default:
      throw std::invalid_argument(std::string("elements of ") + traitsOf(type).name + " cannot be moved one by one");
  }
}

}  // namespace mora
