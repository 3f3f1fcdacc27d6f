// f32 arithmetic on f32, bf16 or f16 storage with Highway vectors, for one instruction set at a time: include it after
// hwy/foreach_target.h, once per file. Rounding is to nearest even on every instruction set, and NaN stays NaN.
#if defined(MORA_CPU_SIMD_FLOAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_SIMD_FLOAT_INL_H_
#undef MORA_CPU_SIMD_FLOAT_INL_H_
#else
#define MORA_CPU_SIMD_FLOAT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

/// The part of a vector that is accessed: all of it, or its first `count` lanes (loads fill the rest with zeros).
struct WholeVector {};
struct PartVector {
  size_t count;
};

/// Calls body(offset, WholeVector or PartVector) until `count` elements are covered.
template <class Body>
HWY_INLINE void forVectors(int64_t count, Body&& body) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t offset = 0;
  for (; offset + lanes <= count; offset += lanes) body(offset, WholeVector{});
  if (offset < count) body(offset, PartVector{static_cast<size_t>(count - offset)});
}

template <class D>
HWY_INLINE hn::Vec<D> loadRaw(D d, const hn::TFromD<D>* from, WholeVector) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> loadRaw(D d, const hn::TFromD<D>* from, PartVector part) {
  return hn::LoadN(d, from, part.count);
}
template <class D>
HWY_INLINE void storeRaw(D d, hn::Vec<D> v, hn::TFromD<D>* to, WholeVector) {
  hn::StoreU(v, d, to);
}
template <class D>
HWY_INLINE void storeRaw(D d, hn::Vec<D> v, hn::TFromD<D>* to, PartVector part) {
  hn::StoreN(v, d, to, part.count);
}

using BitsTag = hn::RebindToUnsigned<FloatTag>;
using BitsVector = hn::Vec<BitsTag>;
using Bfloat16Tag = hn::Rebind<hwy::bfloat16_t, FloatTag>;
using Float16Tag = hn::Rebind<hwy::float16_t, FloatTag>;
using ShortTag = hn::Rebind<uint16_t, FloatTag>;

HWY_INLINE FloatVector broadcast(float value) { return hn::Set(FloatTag(), value); }
HWY_INLINE BitsVector broadcastBits(uint32_t value) { return hn::Set(BitsTag(), value); }

/// f16 to f32, exact. Highway's conversion for SSE2 handles neither infinity nor NaN.
HWY_INLINE FloatVector fromFloat16(hn::Vec<Float16Tag> half) {
  const BitsVector bits = hn::PromoteTo(BitsTag(), hn::BitCast(ShortTag(), half));
  const BitsVector sign = hn::ShiftLeft<16>(hn::And(bits, broadcastBits(0x8000)));
  const BitsVector magnitude = hn::ShiftLeft<13>(hn::And(bits, broadcastBits(0x7FFF)));
  // The exponents' biases differ by 112; a product also scales subnormal numbers correctly.
  const FloatVector finite = hn::Mul(hn::BitCast(FloatTag(), magnitude), broadcast(0x1p112f));
  const auto special = hn::Ge(magnitude, broadcastBits(0x0F800000));
  const BitsVector infinite = hn::Or(magnitude, broadcastBits(0x7F800000));
  return hn::BitCast(FloatTag(), hn::Or(sign, hn::IfThenElse(special, infinite, hn::BitCast(BitsTag(), finite))));
}

/// bits + half a unit of the result's last place, bit `Shift`, to round to even.
template <int Shift>
HWY_INLINE BitsVector roundBits(BitsVector bits) {
  const BitsVector odd = hn::And(hn::ShiftRight<Shift>(bits), broadcastBits(1));
  return hn::Add(hn::Add(bits, broadcastBits((1u << (Shift - 1)) - 1)), odd);
}

/// f32 to f16, to nearest even, overflow to infinity.
HWY_INLINE hn::Vec<Float16Tag> toFloat16(FloatVector v) {
  const BitsVector bits = hn::BitCast(BitsTag(), v), magnitude = hn::And(bits, broadcastBits(0x7FFFFFFF));
  const BitsVector normal = hn::ShiftRight<13>(hn::Sub(roundBits<13>(magnitude), broadcastBits(112u << 23)));
  // The sum with 0.5 has its last place where f16's subnormal numbers have theirs.
  const FloatVector shifted = hn::Add(hn::BitCast(FloatTag(), magnitude), broadcast(0.5f));
  const BitsVector subnormal = hn::Sub(hn::BitCast(BitsTag(), shifted), broadcastBits(0x3F000000));
  BitsVector half = hn::IfThenElse(hn::Lt(magnitude, broadcastBits(0x38800000)), subnormal, normal);
  half = hn::IfThenElse(hn::Ge(magnitude, broadcastBits(0x47800000)), broadcastBits(0x7C00), half);
  half = hn::IfThenElse(hn::Gt(magnitude, broadcastBits(0x7F800000)), broadcastBits(0x7E00), half);
  half = hn::Or(half, hn::ShiftRight<16>(hn::And(bits, broadcastBits(0x80000000))));
  return hn::BitCast(Float16Tag(), hn::TruncateTo(ShortTag(), half));
}

/// f32 to bf16, to nearest even; the instruction, if there is one, treats numbers below 2^-126 as 0.
HWY_INLINE hn::Vec<Bfloat16Tag> toBfloat16(FloatVector v) {
#if HWY_NATIVE_DOT_BF16
  return hn::DemoteTo(Bfloat16Tag(), v);
#else
  const BitsVector bits = hn::BitCast(BitsTag(), v), quiet = hn::Or(bits, broadcastBits(0x400000));
  const BitsVector chosen = hn::IfThenElse(hn::RebindMask(BitsTag(), hn::IsNaN(v)), quiet, roundBits<16>(bits));
  return hn::BitCast(Bfloat16Tag(), hn::TruncateTo(ShortTag(), hn::ShiftRight<16>(chosen)));
#endif
}

/// Loads f32, bf16 or f16 as f32.
template <class Part>
HWY_INLINE FloatVector load(const float* from, Part part) {
  return loadRaw(FloatTag(), from, part);
}
template <class Part>
HWY_INLINE FloatVector load(const hwy::bfloat16_t* from, Part part) {
  return hn::PromoteTo(FloatTag(), loadRaw(Bfloat16Tag(), from, part));
}
template <class Part>
HWY_INLINE FloatVector load(const hwy::float16_t* from, Part part) {
  return fromFloat16(loadRaw(Float16Tag(), from, part));
}

/// Stores f32 as f32, bf16 or f16.
template <class Part>
HWY_INLINE void store(FloatVector v, float* to, Part part) {
  storeRaw(FloatTag(), v, to, part);
}
template <class Part>
HWY_INLINE void store(FloatVector v, hwy::bfloat16_t* to, Part part) {
  storeRaw(Bfloat16Tag(), toBfloat16(v), to, part);
}
template <class Part>
HWY_INLINE void store(FloatVector v, hwy::float16_t* to, Part part) {
  storeRaw(Float16Tag(), toFloat16(v), to, part);
}

/// Stores one value, rounded to T.
template <typename T>
HWY_INLINE void storeOne(float value, T* to) {
  store(hn::Set(FloatTag(), value), to, PartVector{1});
}

/// 2^n for whole n in [-126, 127].
HWY_INLINE FloatVector powerOfTwo(hn::Vec<hn::RebindToSigned<FloatTag>> n) {
  const hn::RebindToSigned<FloatTag> bitsTag;
  return hn::BitCast(FloatTag(), hn::ShiftLeft<23>(hn::Add(n, hn::Set(bitsTag, 127))));
}

/// e^x within 1.5 units in the last place, overflow to infinity, gradual underflow to 0; NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln(2)/2, and the Taylor polynomial of degree 7 for e^r (truncation below 6e-9).
HWY_INLINE FloatVector expFloat(FloatVector x) {
  // Beyond these the result is infinity or 0. Comparisons, since Min and Max may lose a NaN.
  x = hn::IfThenElse(hn::Gt(x, broadcast(89.0f)), broadcast(89.0f), x);
  x = hn::IfThenElse(hn::Lt(x, broadcast(-104.0f)), broadcast(-104.0f), x);
  const FloatVector n = hn::Round(hn::Mul(x, broadcast(0x1.715476p+0f)));
  // ln 2 in two parts; n times the first part is exact.
  FloatVector r = hn::NegMulAdd(n, broadcast(0x1.62E4p-1f), x);
  r = hn::NegMulAdd(n, broadcast(0x1.7F7D1Cp-20f), r);
  FloatVector sum = broadcast(1.0f / 5040);
  sum = hn::MulAdd(sum, r, broadcast(1.0f / 720));
  sum = hn::MulAdd(sum, r, broadcast(1.0f / 120));
  sum = hn::MulAdd(sum, r, broadcast(1.0f / 24));
  sum = hn::MulAdd(sum, r, broadcast(1.0f / 6));
  sum = hn::MulAdd(sum, r, broadcast(0.5f));
  sum = hn::MulAdd(sum, r, broadcast(1.0f));
  sum = hn::MulAdd(sum, r, broadcast(1.0f));
  // Two factors, because 2^n alone leaves the range of normal numbers at both ends.
  const auto whole = hn::ConvertTo(hn::RebindToSigned<FloatTag>(), n);
  const auto half = hn::ShiftRight<1>(whole);
  return hn::Mul(hn::Mul(sum, powerOfTwo(half)), powerOfTwo(hn::Sub(whole, half)));
}

constexpr float kLog2E = 0x1.715476p+0f;

/// The polynomial of degree 5 with the least relative error for 2^r, |r| <= 1/2, among those that are 1 at 0.
constexpr float kExp2Coefficients[] = {1.0f,           0x1.62e42ap-1f, 0x1.ebf9bcp-3f,
                                       0x1.c6b752p-5f, 0x1.3cea88p-7f, 0x1.5bba14p-10f};

/// 2^x for x up to about 127, 0 below -126; NaN stays NaN. Half the work of expFloat, by the same method: x = n + r
/// with |r| <= 1/2, and a polynomial for 2^r. Relative error below 2e-7.
HWY_INLINE FloatVector exp2Float(FloatVector x) {
  const hn::RebindToSigned<FloatTag> bitsTag;
  // Adding 1.5 * 2^23 rounds to a whole number in the low bits; 127 more makes them an exponent.
  const FloatVector magic = broadcast(0x1.8p+23f + 127.0f);
  const FloatVector shifted = hn::Add(x, magic);
  const FloatVector r = hn::Sub(x, hn::Sub(shifted, magic));
  FloatVector sum = broadcast(kExp2Coefficients[5]);
  for (int i = 4; i >= 0; --i) sum = hn::MulAdd(sum, r, broadcast(kExp2Coefficients[i]));
  const FloatVector power = hn::BitCast(FloatTag(), hn::ShiftLeft<23>(hn::BitCast(bitsTag, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, broadcast(-126.0f)), hn::Mul(sum, power));
}

/// 1 / (1 + e^-x)
HWY_INLINE FloatVector sigmoid(FloatVector x) {
  const FloatVector one = broadcast(1.0f);
  return hn::Div(one, hn::Add(one, expFloat(hn::Neg(x))));
}

/// sigmoid with less work, within 1e-6, and 0 below e^-87: for results that are rounded to 16 bits.
HWY_INLINE FloatVector quickSigmoid(FloatVector x) {
  const FloatVector exponent = hn::Mul(x, broadcast(-kLog2E)), most = broadcast(125.0f);
  const FloatVector d = hn::Add(broadcast(1.0f), exp2Float(hn::Min(hn::Max(exponent, hn::Neg(most)), most)));
  // Newton's method: the estimate has 12 bits or more on x86, 8 on Arm.
  FloatVector r = hn::ApproximateReciprocal(d);
  for (int step = 0; step < (HWY_ARCH_ARM ? 2 : 1); ++step) r = hn::Mul(r, hn::NegMulAdd(d, r, broadcast(2.0f)));
  return hn::IfThenZeroElse(hn::Gt(exponent, most), r);
}

/// tanh within 2 units in the last place: near 0 the odd polynomial with the least relative error (4e-9).
HWY_INLINE FloatVector tanhFloat(FloatVector x) {
  constexpr float kCoefficients[] = {-0x1.555532p-2f, 0x1.110726p-3f, -0x1.b83c5ap-5f, 0x1.52269ap-6f, -0x1.75e1ccp-8f};
  const FloatVector one = broadcast(1.0f), size = hn::Abs(x), square = hn::Mul(x, x);
  FloatVector sum = broadcast(kCoefficients[4]);
  for (int i = 3; i >= 0; --i) sum = hn::MulAdd(sum, square, broadcast(kCoefficients[i]));
  const FloatVector near = hn::MulAdd(hn::Mul(sum, square), x, x);
  const FloatVector far = hn::Sub(one, hn::Div(broadcast(2.0f), hn::Add(one, expFloat(hn::Add(size, size)))));
  return hn::IfThenElse(hn::Lt(size, broadcast(0.625f)), near, hn::CopySign(far, x));
}

/// target[0, count) += source[0, count)
template <typename T>
HWY_INLINE void addTo(float* target, const T* source, int64_t count) {
  forVectors(count, [&](int64_t i, auto part)
                        HWY_ATTR { store(hn::Add(load(target + i, part), load(source + i, part)), target + i, part); });
}

/// target[0, count) = source[0, count)
template <typename S, typename T>
HWY_INLINE void convert(const S* source, T* target, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR { store(load(source + i, part), target + i, part); });
}

/// Adds factor * delta to a vector of a weight, rounded once; returns the number of non-finite results.
template <typename T, class Part>
HWY_INLINE int64_t mergeVector(FloatVector delta, FloatVector factor, T* weight, Part part) {
  store(hn::MulAdd(factor, delta, load(weight, part)), weight, part);
  const auto finite = hn::IsFinite(load(weight, part));  // after rounding: float16 overflows
  return static_cast<int64_t>(hn::CountTrue(FloatTag(), hn::Not(finite)));
}

/// weight[i] += scale * delta[i], rounded once; returns the number of non-finite results.
template <typename T>
HWY_INLINE int64_t mergeInto(const float* delta, float scale, T* weight, int64_t count) {
  const FloatVector factor = broadcast(scale);
  int64_t nonFinite = 0;
  forVectors(count, [&](int64_t i, auto part)
                        HWY_ATTR { nonFinite += mergeVector(load(delta + i, part), factor, weight + i, part); });
  return nonFinite;
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
