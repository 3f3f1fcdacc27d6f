// Maps descriptors to template parameters, and builds grids over rows.
#pragma once
#include <algorithm>
#include <string>
#include <type_traits>

#include "cuda/device_code.h"
#include "cuda/tensor_view.h"

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

/// Number of threads of a block for one row of `items` pieces: whole warps, at most `limit`.
inline unsigned threadsFor(int64_t items, unsigned limit) {
  const int64_t warps = std::clamp<int64_t>(ceilDivide(items, kWarp), 1, limit / kWarp);
  return static_cast<unsigned>(warps) * kWarp;
}

/// A grid for every piece of every row: a thread has pieces of one row. See forPieces.
struct PieceGrid {
  dim3 grid, block;
};

inline PieceGrid pieceGrid(int64_t rows, int64_t pieces) {
  constexpr unsigned kThreads = 256, kGridLimit = 65535;
  unsigned across = 1;  // threads side by side in one row
  while (across < kThreads && across < pieces) across *= 2;
  const unsigned down = kThreads / across;
  const int64_t blocksAcross = std::min<int64_t>(ceilDivide(pieces, across), kGridLimit);
  return {dim3(static_cast<unsigned>(ceilDivide(rows, down)), static_cast<unsigned>(blocksAcross)), dim3(across, down)};
}

/// Calls body(row, piece) for this thread's share of a pieceGrid.
template <typename Body>
__device__ __forceinline__ void forPieces(int64_t rows, int64_t pieces, Body&& body) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t piece = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; piece < pieces; piece += step)
    body(row, piece);
}

}  // namespace mora::cuda
