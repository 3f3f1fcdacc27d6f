// Merges an adapter of two factors into a weight.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/mora/mora_dispatch.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

/// weight [d, k] += scale b [d, r] a [r, k], f32 factors read through the cache. A thread sums the N values of its
/// columns. Moves 2 d k elements; counts non-finite results.
template <typename T, int N>
__global__ void mergeFactorRows(Rows<const float> b, Rows<const float> a, int64_t rank, int64_t rows, int64_t columns,
                                float scale, Rows<T> weight, int32_t* nonFinite) {
  forPieces(rows, columns / N, [&](int64_t row, int64_t piece) {
    float delta[N] = {};
    for (int64_t t = 0; t < rank; ++t) {
      float values[N];
      load(a.at(t) + piece * N, values);
      const float factor = b.at(row)[t];
#pragma unroll
      for (int i = 0; i < N; ++i) delta[i] = fmaf(factor, values[i], delta[i]);
    }
    addToCount(nonFinite, mergeVector(delta, scale, weight.at(row) + piece * N));
  });
}

}  // namespace

void mergeFactors(Context& context, TensorDesc b, TensorDesc a, float scale, TensorDesc weight, TensorDesc nonFinite) {
  if (elementsOf(weight) == 0) return;
  const int64_t rows = weight.shape[0], columns = weight.shape[1];
  expectCost(bytesOf(weight) + bytesOf(a) + bytesOf(b), bytesOf(weight));
  withFloatType(weight.dtype, "mergeFactors", [&](auto type) {
    using T = decltype(type);
    withWidth<8>(allRowsFit(8, weight, a), [&](auto width) {
      launchPieces(mergeFactorRows<T, width>, rows, columns / width, context.stream, rowsOf<const float>(b),
                   rowsOf<const float>(a), a.shape[0], rows, columns, scale, rowsOf<T>(weight),
                   static_cast<int32_t*>(nonFinite.data));
    });
  });
  checkLaunch("mergeFactors");
}

}  // namespace mora::cuda
