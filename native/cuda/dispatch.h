// Maps descriptors to template parameters, and launches kernels over rows.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "cuda/device_code.h"
#include "cuda/tensor_view.h"
#include "cuda/vector.h"

namespace mora::cuda {

/// Calls body(T{}) with the C++ type of f32, bf16 or f16; throws Error with the operation's name for other types.
template <typename Body>
void withFloatType(DType type, const char* operation, Body&& body) {
  switch (type) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(__nv_bfloat16{});
    case DType::f16:
      return body(__half{});
    default:
      unsupported(std::string(operation) + " of " + traitsOf(type).name);
  }
}

/// Calls body(std::integral_constant<int, N>) with N = Wide if vectors fit, else 1.
template <int Wide, typename Body>
void withWidth(bool fits, Body&& body) {
  if (fits) return body(std::integral_constant<int, Wide>{});
  body(std::integral_constant<int, 1>{});
}

/// Calls body(T{}, width) with the C++ type of `type` and the widest vectors that fit the rows of all the tensors.
template <typename Body>
void withRowVectors(DType type, const char* operation, std::initializer_list<TensorDesc> tensors, Body&& body) {
  withFloatType(type, operation, [&](auto element) {
    constexpr int kWide = kVectorWidth<decltype(element)>;
    const auto fits = [](const TensorDesc& tensor) { return rowsFit(tensor, kWide); };
    withWidth<kWide>(std::all_of(tensors.begin(), tensors.end(), fits), [&](auto width) { body(element, width); });
  });
}

/// Number of threads of a block for one row of `items` pieces: whole warps, at most `limit`.
inline unsigned threadsFor(int64_t items, unsigned limit) {
  const int64_t warps = std::clamp<int64_t>(ceilDivide(items, kWarp), 1, limit / kWarp);
  return static_cast<unsigned>(warps) * kWarp;
}

/// Launches a kernel with one block for each row.
template <typename Kernel, typename... Args>
void launchRows(Kernel kernel, int64_t rows, unsigned threads, cudaStream_t stream, Args... args) {
  launch(kernel, dim3(static_cast<unsigned>(rows)), dim3(threads), 0, stream, args...);
}

/// Launches a kernel that calls forPieces: a thread has pieces of one row.
template <typename Kernel, typename... Args>
void launchPieces(Kernel kernel, int64_t rows, int64_t pieces, cudaStream_t stream, Args... args) {
  constexpr unsigned kThreads = 256, kGridLimit = 65535;
  unsigned across = 1;  // threads side by side in one row
  while (across < kThreads && across < pieces) across *= 2;
  const unsigned down = kThreads / across;
  const int64_t blocksAcross = std::min<int64_t>(ceilDivide(pieces, across), kGridLimit);
  const dim3 grid(static_cast<unsigned>(ceilDivide(rows, down)), static_cast<unsigned>(blocksAcross));
  launch(kernel, grid, dim3(across, down), 0, stream, args...);
}

/// Calls body(row, piece) for this thread's share of the pieces of rows, in a kernel of launchPieces.
template <typename Body>
__device__ __forceinline__ void forPieces(int64_t rows, int64_t pieces, Body&& body) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t piece = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; piece < pieces; piece += step)
    body(row, piece);
}

}  // namespace mora::cuda
