// SwiGLU (arXiv 2002.05202): y = silu(gate) * up with silu(g) = g sigmoid(g).
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// All [T, F]. Reads gate and up, writes y: 3 T F elements. y may be the memory of an input.
template <typename T, int N>
__global__ void swigluKernel(Rows<const T> gate, Rows<const T> up, Rows<T> y, int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float g[N], u[N];
    load(gate.at(row) + piece * N, g);
    load(up.at(row) + piece * N, u);
#pragma unroll
    for (int i = 0; i < N; ++i) u[i] *= g[i] * sigmoid(g[i]);
    store(u, y.at(row) + piece * N);
  });
}

/// dUp = dY silu(g), dGate = dY up s (1 + g (1 - s)) with s = sigmoid(g), all [T, F]: 5 T F elements. Outputs may be
/// the inputs' own memory.
template <typename T, int N>
__global__ void swigluBackwardKernel(Rows<const T> dY, Rows<const T> gate, Rows<const T> up, Rows<T> dGate, Rows<T> dUp,
                                     int64_t rows, int64_t columns) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float gradient[N], g[N], u[N];
    load(dY.at(row) + piece * N, gradient);
    load(gate.at(row) + piece * N, g);
    load(up.at(row) + piece * N, u);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float s = sigmoid(g[i]);
      u[i] *= gradient[i] * s * fmaf(g[i], 1.0f - s, 1.0f);
      gradient[i] *= g[i] * s;
    }
    store(u, dGate.at(row) + piece * N);
    store(gradient, dUp.at(row) + piece * N);
  });
}

}  // namespace

void swiglu(Context& context, TensorDesc gate, TensorDesc up, TensorDesc y) {
  const int64_t rows = y.shape[0], columns = columnsOf(y);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(gate) + bytesOf(up), bytesOf(y));
  withFloatType(y.dtype, "swiglu", [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kVectorWidth<T>;
    withWidth<kWide>(allRowsFit(kWide, gate, up, y), [&](auto width) {
      const PieceGrid sizes = pieceGrid(rows, columns / width);
      launch(swigluKernel<T, width>, sizes.grid, sizes.block, 0, context.stream, rowsOf<const T>(gate),
             rowsOf<const T>(up), rowsOf<T>(y), rows, columns);
    });
  });
  checkLaunch("swiglu");
}

void swigluBackward(Context& context, TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate, TensorDesc dUp) {
  const int64_t rows = dY.shape[0], columns = columnsOf(dY);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(dY) + bytesOf(gate) + bytesOf(up), bytesOf(dGate) + bytesOf(dUp));
  withFloatType(dY.dtype, "swigluBackward", [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kVectorWidth<T>;
    withWidth<kWide>(allRowsFit(kWide, dY, gate, up, dGate, dUp), [&](auto width) {
      const PieceGrid sizes = pieceGrid(rows, columns / width);
      launch(swigluBackwardKernel<T, width>, sizes.grid, sizes.block, 0, context.stream, rowsOf<const T>(dY),
             rowsOf<const T>(gate), rowsOf<const T>(up), rowsOf<T>(dGate), rowsOf<T>(dUp), rows, columns);
    });
  });
  checkLaunch("swigluBackward");
}

}  // namespace mora::cuda
