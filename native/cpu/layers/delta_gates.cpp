// The gates of a gated delta net (arXiv 2412.06464): how far a token's state decays, and how much it learns. Few
// elements: one for each token and head.
#include <algorithm>
#include <array>
#include <cmath>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/row_chunks.h"
#include "cpu/parallel.h"

namespace mora::cpu {
namespace {

constexpr int64_t kWork = 64;  // of an element: two exponentials and a logarithm

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
float softplus(float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); }

const float* floatsOf(const TensorDesc& tensor) { return static_cast<const float*>(tensor.data); }

}  // namespace

void deltaGates(TensorDesc a, TensorDesc b, TensorDesc logRate, TensorDesc bias, TensorDesc g, TensorDesc beta) {
  withFloatType(a.dtype, "deltaGates", [&](auto type) {
    using T = decltype(type);
    const int64_t heads = a.shape[1];
    parallelRanges(a.shape[0], heads * kWork, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t head = 0; head < heads; ++head) {
          const float step = hwy::ConvertScalarTo<float>(rowOf<const T>(a, row)[head]) + floatsOf(bias)[head];
          rowOf<float>(g, row)[head] = -std::exp(floatsOf(logRate)[head]) * softplus(step);
          rowOf<float>(beta, row)[head] = sigmoid(hwy::ConvertScalarTo<float>(rowOf<const T>(b, row)[head]));
        }
    });
  });
}

void deltaGatesBackward(TensorDesc dG, TensorDesc dBeta, TensorDesc a, TensorDesc logRate, TensorDesc bias,
                        TensorDesc g, TensorDesc beta, TensorDesc dA, TensorDesc dB, TensorDesc dLogRate,
                        TensorDesc dBias) {
  withFloatType(a.dtype, "deltaGatesBackward", [&](auto type) {
    using T = decltype(type);
    const int64_t heads = a.shape[1];
    const auto convert = [](float value) { return hwy::ConvertScalarTo<T>(value); };
    const std::array targets{static_cast<float*>(dLogRate.data), static_cast<float*>(dBias.data)};
    sumRowChunks(a.shape[0], heads, targets, true, [&](int64_t begin, int64_t end, const auto& sums) {
      for (int64_t row = begin; row < end; ++row)
        for (int64_t head = 0; head < heads; ++head) {
          const float change = rowOf<const float>(dG, row)[head], rate = -std::exp(floatsOf(logRate)[head]);
          const float step = hwy::ConvertScalarTo<float>(rowOf<const T>(a, row)[head]) + floatsOf(bias)[head];
          const float dStep = change * rate * sigmoid(step), learned = rowOf<const float>(beta, row)[head];
          rowOf<T>(dA, row)[head] = convert(dStep);
          rowOf<T>(dB, row)[head] = convert(rowOf<const float>(dBeta, row)[head] * learned * (1 - learned));
          if (sums[0]) sums[0][head] += change * rowOf<const float>(g, row)[head];
          if (sums[1]) sums[1][head] += dStep;
        }
    });
  });
}

}  // namespace mora::cpu
