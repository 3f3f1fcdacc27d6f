// Merging an adapter of two factors: the weight's rows pass through memory once, and their change stays in the cache.
#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/merge_factors.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

constexpr int kTogether = 4;  // rows, so that each value of a that is read serves several

/// delta [kTogether, k] = rows of b [kTogether, r] times a [r, k]
void multiplyRows(const float* const (&b)[kTogether], const TensorDesc& a, float* HWY_RESTRICT delta) {
  const int64_t r = a.shape[0], k = a.shape[1];
  forVectors(k, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector sums[kTogether] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
    for (int64_t t = 0; t < r; ++t) {
      const FloatVector values = load(rowOf<const float>(a, t) + i, part);
#pragma GCC unroll 4
      for (int row = 0; row < kTogether; ++row) sums[row] = hn::MulAdd(broadcast(b[row][t]), values, sums[row]);
    }
#pragma GCC unroll 4
    for (int row = 0; row < kTogether; ++row) store(sums[row], delta + row * k + i, part);
  });
}

int64_t MergeFactorRows(const TensorDesc& b, const TensorDesc& a, float scale, const TensorDesc& weight, int64_t begin,
                        int64_t end) {
  const int64_t k = a.shape[1];
  std::vector<float> delta(static_cast<size_t>(kTogether * k));
  int64_t nonFinite = 0;
  withFloatType(weight.dtype, "mergeFactors", [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; row += kTogether) {
      const float* rows[kTogether];
      for (int64_t i = 0; i < kTogether; ++i) rows[i] = rowOf<const float>(b, std::min(row + i, end - 1));
      multiplyRows(rows, a, delta.data());
      for (int64_t i = 0; i < std::min<int64_t>(kTogether, end - row); ++i)
        nonFinite += mergeInto(delta.data() + i * k, scale, rowOf<decltype(type)>(weight, row + i), k);
    }
  });
  return nonFinite;
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MergeFactorRows);

void mergeFactors(TensorDesc b, TensorDesc a, float scale, TensorDesc weight, TensorDesc nonFinite) {
  std::atomic<int64_t> found{0};
  parallelRanges(weight.shape[0], weight.shape[1] * a.shape[0], [&](int64_t begin, int64_t end) {
    found += HWY_DYNAMIC_DISPATCH(MergeFactorRows)(b, a, scale, weight, begin, end);
  });
  if (present(nonFinite)) addCount(nonFinite, found);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
