// Elementwise functions of one or two operands, and those gradients that are no product or quotient.
#include <cmath>

#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/elementwise.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// ln x within 3 units in the last place; -infinity for 0, NaN below. x = m 2^e with m in [sqrt(1/2), sqrt(2)), and ln
/// m = 2 artanh(s) with s = (m - 1) / (m + 1), whose series ends with s^9 (truncation below 3e-9).
HWY_INLINE FloatVector logFloat(FloatVector x) {
  const hn::RebindToSigned<FloatTag> bitsTag;
  const auto subnormal = hn::Lt(x, broadcast(0x1p-126f));
  const FloatVector normal = hn::IfThenElse(subnormal, hn::Mul(x, broadcast(0x1p24f)), x);
  const auto bits = hn::BitCast(bitsTag, normal), root = hn::Set(bitsTag, 0x3F3504F3);  // sqrt(1/2)
  const auto whole = hn::ShiftRight<23>(hn::Sub(bits, root));
  const FloatVector m = hn::BitCast(FloatTag(), hn::Sub(bits, hn::ShiftLeft<23>(whole)));
  const FloatVector e = hn::Sub(hn::ConvertTo(FloatTag(), whole), hn::IfThenElseZero(subnormal, broadcast(24.0f)));
  const FloatVector one = broadcast(1.0f), s = hn::Div(hn::Sub(m, one), hn::Add(m, one)), square = hn::Mul(s, s);
  FloatVector sum = broadcast(2.0f / 9);
  for (const float coefficient : {2.0f / 7, 2.0f / 5, 2.0f / 3}) sum = hn::MulAdd(sum, square, broadcast(coefficient));
  // ln 2 in two parts; e times the first part is exact.
  FloatVector result = hn::MulAdd(hn::Mul(sum, square), s, hn::Mul(e, broadcast(0x1.7F7D1Cp-20f)));
  result = hn::Add(hn::MulAdd(e, broadcast(0x1.62E4p-1f), hn::Add(s, s)), result);
  result = hn::IfThenElse(hn::Eq(x, broadcast(INFINITY)), x, result);
  result = hn::IfThenElse(hn::Eq(x, hn::Zero(FloatTag())), broadcast(-INFINITY), result);
  return hn::IfThenElse(hn::Or(hn::Lt(x, hn::Zero(FloatTag())), hn::IsNaN(x)), broadcast(NAN), result);
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + u) with u = e^-|x|. The rounding error of w = 1 + u is added to first order,
/// (u - (w - 1)) / w, so that the tail e^x for negative x keeps its precision.
HWY_INLINE FloatVector softplusFloat(FloatVector x) {
  const FloatVector one = broadcast(1.0f), u = expFloat(hn::Neg(hn::Abs(x))), w = hn::Add(one, u);
  const FloatVector lost = hn::Div(hn::Sub(u, hn::Sub(w, one)), w);
  return hn::Add(hn::Max(x, hn::Zero(FloatTag())), hn::Add(logFloat(w), lost));
}

template <Elementwise f>
HWY_INLINE FloatVector evaluate(FloatVector a, FloatVector b) {
  const FloatVector one = broadcast(1.0f);
  if constexpr (f == Elementwise::exp) return expFloat(a);
  if constexpr (f == Elementwise::log) return logFloat(a);
  if constexpr (f == Elementwise::sqrt) return hn::Sqrt(a);
  if constexpr (f == Elementwise::tanh) return tanhFloat(a);
  if constexpr (f == Elementwise::sigmoid) return sigmoid(a);
  if constexpr (f == Elementwise::softplus) return softplusFloat(a);
  if constexpr (f == Elementwise::multiply) return hn::Mul(a, b);
  if constexpr (f == Elementwise::divide) return hn::Div(a, b);
  if constexpr (f == Elementwise::sqrtGradient) return hn::Div(hn::Mul(a, broadcast(0.5f)), b);
  if constexpr (f == Elementwise::tanhGradient) return hn::Mul(a, hn::NegMulAdd(b, b, one));
  if constexpr (f == Elementwise::sigmoidGradient) return hn::Mul(hn::Mul(a, b), hn::Sub(one, b));
  if constexpr (f == Elementwise::softplusGradient) return hn::Mul(a, sigmoid(b));
}

template <Elementwise f, bool kAccumulate, typename T>
void evaluateAll(const T* a, const T* b, T* y, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector left = load(a + i, part);
    FloatVector value = evaluate<f>(left, takesTwo(f) ? load(b + i, part) : left);
    if constexpr (kAccumulate) value = hn::Add(load(y + i, part), value);
    store(value, y + i, part);
  });
}

void EvaluateRange(Elementwise function, const TensorDesc& a, const TensorDesc& b, const TensorDesc& y, bool accumulate,
                   int64_t begin, int64_t end) {
  withFloatType(a.dtype, "elementwise", [&](auto type) HWY_ATTR {
    withElementwise(function, [&](auto f) HWY_ATTR {
      using T = decltype(type);
      const auto* const right = takesTwo(f) ? static_cast<const T*>(b.data) + begin : nullptr;
      const auto evaluate =
          accumulate ? evaluateAll<decltype(f)::value, true, T> : evaluateAll<decltype(f)::value, false, T>;
      evaluate(static_cast<const T*>(a.data) + begin, right, static_cast<T*>(y.data) + begin, end - begin);
    });
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(EvaluateRange);

void elementwise(Elementwise f, TensorDesc a, TensorDesc b, TensorDesc y, bool accumulate) {
  // Whole cache lines, so that the content of a vector does not depend on the threads.
  constexpr int64_t kLine = 64;
  parallelRanges(
      elementsOf(y), 1,
      [&](int64_t begin, int64_t end) {
        HWY_DYNAMIC_DISPATCH(EvaluateRange)
        (f, a, b, y, accumulate, begin, end);
      },
      kLine);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
