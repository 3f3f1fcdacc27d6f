// Softmax of rows or its logarithm, and the gradient through it. Repeated reads of a row come from the cache.
#include <algorithm>
#include <cmath>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/softmax_rows.cpp"
#include <hwy/foreach_target.h>

#include "cpu/layers/softmax_sums-inl.h"
#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <bool kLogarithm, typename T>
void softmaxRow(const T* x, T* y, int64_t count) {
  const float maximum = maximumOf(x, count);
  const double sum = sumOfExponentials(x, maximum, count);
  const FloatVector shift = broadcast(maximum), factor = broadcast(static_cast<float>(1.0 / sum)),
                    logarithm = broadcast(static_cast<float>(std::log(sum)));
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector beside = hn::Sub(load(x + i, part), shift);
    store(kLogarithm ? hn::Sub(beside, logarithm) : hn::Mul(expOf(beside), factor), y + i, part);
  });
}

/// Sum of dY, or of y dY, in f64.
template <bool kLogarithm, typename T>
double sumOfGradients(const T* dY, const T* y, int64_t count) {
  const hn::Repartition<double, FloatTag> wide;
  auto lower = hn::Zero(wide), upper = hn::Zero(wide);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector term = load(dY + i, part);
    if constexpr (!kLogarithm) term = hn::Mul(term, load(y + i, part));
    lower = hn::Add(lower, hn::PromoteLowerTo(wide, term));
    upper = hn::Add(upper, hn::PromoteUpperTo(wide, term));
  });
  return hn::ReduceSum(wide, hn::Add(lower, upper));
}

template <bool kLogarithm, bool kAccumulate, typename T>
void softmaxRowBackward(const T* dY, const T* y, T* dX, int64_t count) {
  const FloatVector sum = broadcast(static_cast<float>(sumOfGradients<kLogarithm>(dY, y, count)));
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector gradient = load(dY + i, part), value = load(y + i, part);
    FloatVector result =
        kLogarithm ? hn::NegMulAdd(expFloat(value), sum, gradient) : hn::Mul(value, hn::Sub(gradient, sum));
    if constexpr (kAccumulate) result = hn::Add(load(dX + i, part), result);
    store(result, dX + i, part);
  });
}

void SoftmaxRows(const TensorDesc& x, bool logarithm, const TensorDesc& y, int64_t begin, int64_t end) {
  withFloatType(x.dtype, "softmaxRows", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const auto softmax = logarithm ? softmaxRow<true, T> : softmaxRow<false, T>;
    for (int64_t row = begin; row < end; ++row) softmax(rowOf<const T>(x, row), rowOf<T>(y, row), columnsOf(x));
  });
}

void SoftmaxRowsBackward(const TensorDesc& dY, const TensorDesc& y, bool logarithm, const TensorDesc& dX,
                         bool accumulate, int64_t begin, int64_t end) {
  withFloatType(y.dtype, "softmaxRowsBackward", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const auto ofLogarithm = accumulate ? softmaxRowBackward<true, true, T> : softmaxRowBackward<true, false, T>;
    const auto ofSoftmax = accumulate ? softmaxRowBackward<false, true, T> : softmaxRowBackward<false, false, T>;
    const auto backward = logarithm ? ofLogarithm : ofSoftmax;
    for (int64_t row = begin; row < end; ++row)
      backward(rowOf<const T>(dY, row), rowOf<const T>(y, row), rowOf<T>(dX, row), columnsOf(y));
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SoftmaxRows);
HWY_EXPORT(SoftmaxRowsBackward);

void softmaxRows(TensorDesc x, bool logarithm, TensorDesc y) {
  parallelRanges(x.shape[0], columnsOf(x), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SoftmaxRows)(x, logarithm, y, begin, end);
  });
}

void softmaxRowsBackward(TensorDesc dY, TensorDesc y, bool logarithm, TensorDesc dX, bool accumulate) {
  parallelRanges(y.shape[0], columnsOf(y), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(SoftmaxRowsBackward)(dY, y, logarithm, dX, accumulate, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
