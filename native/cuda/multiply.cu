// Products of elements.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// target = (accumulate ? target : 0) + scale a b. Reads each once and writes the target once.
template <typename T, int N>
__global__ void multiplyKernel(Rows<const T> a, Rows<const float> b, Rows<float> target, int64_t rows, int64_t columns,
                               float scale, bool accumulate) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float values[N], factors[N], before[N] = {};
    load(a.at(row) + piece * N, values);
    load(b.at(row) + piece * N, factors);
    if (accumulate) load(target.at(row) + piece * N, before);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = fmaf(scale * values[i], factors[i], before[i]);
    store(values, target.at(row) + piece * N);
  });
}

}  // namespace

void multiply(Context& context, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate) {
  const int64_t rows = a.shape[0], columns = columnsOf(a);
  if (rows == 0 || columns == 0) return;
  expectCost(bytesOf(a) + bytesOf(b) + (accumulate ? bytesOf(target) : 0), bytesOf(target));
  withFloatType(a.dtype, "multiply", [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kVectorWidth<T, float>;
    withWidth<kWide>(allRowsFit(kWide, a, b, target), [&](auto width) {
      const PieceGrid sizes = pieceGrid(rows, columns / width);
      launch(multiplyKernel<T, width>, sizes.grid, sizes.block, 0, context.stream, rowsOf<const T>(a),
             rowsOf<const float>(b), rowsOf<float>(target), rows, columns, scale, accumulate);
    });
  });
  checkLaunch("multiply");
}

}  // namespace mora::cuda
