#include "cpu/products/small_products.h"

#include <algorithm>
#include <cstddef>

#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/products/small_products.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// b's rows [k] have `length` doubles, a whole number of vectors.
void MultiplyWide(StridedMatrix a, const double* b, int64_t length, StridedMatrix c, int64_t m, int64_t n, int64_t k,
                  float alpha, bool accumulate) {
  const hn::CappedTag<double, kPadding> doubles;
  const auto lanes = static_cast<int64_t>(hn::Lanes(doubles));
  // The sums of a tile of c stay in registers.
  constexpr int64_t kRows = 4, kVectors = 2;
  HWY_ALIGN double values[kVectors * hn::MaxLanes(doubles)];
  for (int64_t top = 0; top < m; top += kRows) {
    for (int64_t left = 0; left < n; left += kVectors * lanes) {
      // A tile that extends past an edge repeats the last row or vector, which is not stored.
      int64_t row[kRows], column[kVectors];
      for (int64_t r = 0; r < kRows; ++r) row[r] = std::min(top + r, m - 1);
      for (int64_t v = 0; v < kVectors; ++v) column[v] = std::min(left + v * lanes, length - lanes);
      hn::Vec<decltype(doubles)> sums[kRows][kVectors];
      for (auto& sumsOfRow : sums)
        for (auto& sum : sumsOfRow) sum = hn::Zero(doubles);
      for (int64_t t = 0; t < k; ++t)
        for (int64_t r = 0; r < kRows; ++r) {
          const auto factor = hn::Set(doubles, double{a.at(row[r], t)});
          for (int64_t v = 0; v < kVectors; ++v)
            sums[r][v] = hn::MulAdd(factor, hn::LoadU(doubles, b + t * length + column[v]), sums[r][v]);
        }
      const int64_t right = std::min(n, left + kVectors * lanes);
      for (int64_t i = top; i < std::min(m, top + kRows); ++i) {
        for (int64_t v = 0; v < kVectors; ++v) hn::StoreU(sums[i - top][v], doubles, values + v * lanes);
        for (int64_t j = left; j < right; ++j) {
          float& result = c.at(i, j);
          result = static_cast<float>(alpha * values[j - left] + (accumulate ? result : 0.0));
        }
      }
    }
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MultiplyWide);

namespace {

/// Matrix `index` of a batch.
StridedMatrix matrixOf(const TensorDesc& tensor, bool transpose, int64_t index) {
  float* const data = static_cast<float*>(tensor.data) + (tensor.rank == 3 ? index * tensor.strides[0] : 0);
  const int64_t row = tensor.strides[tensor.rank - 2], column = tensor.strides[tensor.rank - 1];
  return transpose ? StridedMatrix{data, column, row} : StridedMatrix{data, row, column};
}

}  // namespace

void multiplySmall(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                   float alpha, bool accumulate) {
  const int64_t batch = c.rank == 3 ? c.shape[0] : 1;
  const int64_t m = c.shape[c.rank - 2], n = c.shape[c.rank - 1], k = a.shape[a.rank - (transposeA ? 2 : 1)];
  const int64_t length = (n + kPadding - 1) / kPadding * kPadding;
  Scratch scratch;
  auto* const wide = scratch.take<double>(k * length);
  for (int64_t index = 0; index < batch; ++index) {
    const StridedMatrix left = matrixOf(a, transposeA, index), right = matrixOf(b, transposeB, index);
    const StridedMatrix result = matrixOf(c, false, index);
    for (int64_t t = 0; t < k; ++t)
      for (int64_t j = 0; j < length; ++j) wide[t * length + j] = j < n ? right.at(t, j) : 0;
    HWY_DYNAMIC_DISPATCH(MultiplyWide)(left, wide, length, result, m, n, k, alpha, accumulate);
  }
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
