// Loads and stores of several neighbouring elements at once, converting between storage and f32.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/device_code.h"
#include "cuda/tensor_view.h"

namespace mora::cuda {

constexpr int kVectorBytes = 16;  // the widest access of a thread

/// N neighbouring elements, aligned for one access (or several of 16 bytes).
template <typename T, int N>
struct alignas(std::min<int>(kVectorBytes, sizeof(T) * N)) Vector {
  T elements[N];
};

/// Number of elements of the narrowest type in an access of 16 bytes.
template <typename... Types>
constexpr int kVectorWidth = kVectorBytes / static_cast<int>(std::min({sizeof(Types)...}));

/// to[i] = from[i]; `from` is aligned for Vector<T, N>.
template <typename T, int N>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
  const Vector<T, N> packed = *reinterpret_cast<const Vector<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = toFloat(packed.elements[i]);
}

/// to[i] = from[i], rounded; `to` is aligned for Vector<T, N>.
template <typename T, int N>
__device__ __forceinline__ void store(const float (&from)[N], T* to) {
  Vector<T, N> packed;
#pragma unroll
  for (int i = 0; i < N; ++i) packed.elements[i] = fromFloat<T>(from[i]);
  *reinterpret_cast<Vector<T, N>*>(to) = packed;
}

/// to[i] = from[i] for i < N, converted; values of one type keep their bits. Both are aligned for N.
template <int N, typename T, typename U>
__device__ __forceinline__ void convert(const T* from, U* to) {
  if constexpr (std::is_same_v<T, U>) {
    *reinterpret_cast<Vector<T, N>*>(to) = *reinterpret_cast<const Vector<T, N>*>(from);
  } else {
    float values[N];
    load(from, values);
    store(values, to);
  }
}

/// Whether every row of `tensor` can be read `width` elements at a time; an absent tensor fits.
inline bool rowsFit(const TensorDesc& tensor, int width) {
  if (!present(tensor)) return true;
  const int64_t size = traitsOf(tensor.dtype).blockBytes, access = std::min<int64_t>(kVectorBytes, size * width);
  bool fits = reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(access) == 0;
  for (int32_t d = 0; d + 1 < tensor.rank; ++d)
    fits = fits && (tensor.shape[d] <= 1 || tensor.strides[d] * size % access == 0);
  return fits && columnsOf(tensor) % width == 0;
}

/// Whether rows of all the tensors can be read `width` elements at a time.
template <typename... Tensors>
bool allRowsFit(int width, const Tensors&... tensors) {
  return (rowsFit(tensors, width) && ...);
}

}  // namespace mora::cuda
