// Maximum and sum of exponentials of a row, for its softmax. Include it like simd_float-inl.h.
#if defined(MORA_CPU_SOFTMAX_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_SOFTMAX_SUMS_INL_H_
#undef MORA_CPU_SOFTMAX_SUMS_INL_H_
#else
#define MORA_CPU_SOFTMAX_SUMS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// The largest element. It may ignore NaN, since the sum of exponentials becomes NaN.
template <typename T>
float maximumOf(const T* x, int64_t count) {
  FloatVector maximum = broadcast(-INFINITY);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag())), whole = count / lanes * lanes;
  forVectors(whole, [&](int64_t i, auto part) HWY_ATTR { maximum = hn::Max(maximum, load(x + i, part)); });
  float largest = hn::ReduceMax(FloatTag(), maximum);
  for (int64_t i = whole; i < count; ++i) largest = std::max(largest, hn::GetLane(load(x + i, PartVector{1})));
  return largest;
}

/// e^x for x <= 0. The relative error grows with |x|, but e^x falls faster.
HWY_INLINE FloatVector expOf(FloatVector x) { return exp2Float(hn::Mul(x, broadcast(kLog2E))); }

/// Sum of exp(x - maximum), in f64: in f32, small classes would be lost beside a nearly certain one.
template <typename T>
double sumOfExponentials(const T* x, float maximum, int64_t count) {
  const hn::Repartition<double, FloatTag> wide;
  const FloatVector shift = broadcast(maximum);
  auto lower = hn::Zero(wide), upper = hn::Zero(wide);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector v = expOf(hn::Sub(load(x + i, part), shift));
    if constexpr (std::is_same_v<decltype(part), PartVector>)
      v = hn::IfThenElseZero(hn::FirstN(FloatTag(), part.count), v);
    lower = hn::Add(lower, hn::PromoteLowerTo(wide, v));
    upper = hn::Add(upper, hn::PromoteUpperTo(wide, v));
  });
  return hn::ReduceSum(wide, hn::Add(lower, upper));
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
