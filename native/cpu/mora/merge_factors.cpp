// Merges an adapter of two factors: the weight passes through memory once, and its change stays in registers.
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/mora/merge_ranges.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/mora/merge_factors.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Merges rows [row, row + kRows) of the weight; their products share each value of a that is read.
template <int kRows, typename T>
HWY_INLINE int64_t mergeRows(const TensorDesc& b, const TensorDesc& a, FloatVector scale, const TensorDesc& weight,
                             int64_t row) {
  const float* factors[kRows];
  T* rows[kRows];
  for (int i = 0; i < kRows; ++i) {
    factors[i] = rowOf<const float>(b, row + i);
    rows[i] = rowOf<T>(weight, row + i);
  }
  int64_t nonFinite = 0;
  forVectors(a.shape[1], [&](int64_t column, auto part) HWY_ATTR {
    FloatVector deltas[kRows];
    for (int i = 0; i < kRows; ++i) deltas[i] = broadcast(0);
    const float* values = static_cast<const float*>(a.data) + column;
    for (int64_t t = 0; t < a.shape[0]; ++t, values += a.strides[0]) {
      const FloatVector value = load(values, part);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) deltas[i] = hn::MulAdd(broadcast(factors[i][t]), value, deltas[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) nonFinite += mergeVector(deltas[i], scale, rows[i] + column, part);
  });
  return nonFinite;
}

int64_t MergeFactorRows(const TensorDesc& b, const TensorDesc& a, float scale, const TensorDesc& weight, int64_t begin,
                        int64_t end) {
  constexpr int kTogether = 4;
  int64_t nonFinite = 0;
  withFloatType(weight.dtype, "mergeFactors", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const FloatVector factor = broadcast(scale);
    int64_t row = begin;
    for (; row + kTogether <= end; row += kTogether) nonFinite += mergeRows<kTogether, T>(b, a, factor, weight, row);
    for (; row < end; ++row) nonFinite += mergeRows<1, T>(b, a, factor, weight, row);
  });
  return nonFinite;
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(MergeFactorRows);

void mergeFactors(TensorDesc b, TensorDesc a, float scale, TensorDesc weight, TensorDesc nonFinite) {
  mergeRanges(weight.shape[0], weight.shape[1] * a.shape[0], nonFinite, [&](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(MergeFactorRows)(b, a, scale, weight, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
