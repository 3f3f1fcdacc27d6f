// f32 arithmetic on f32, bf16 or f16 storage with Highway vectors, for one instruction set at a time: include it after
// hwy/foreach_target.h, once per file. Rounding to bf16 is to nearest even on every instruction set, subnormal numbers
// included, and NaN stays NaN.
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

/// How much of a vector an access covers: all of it, or its first `count` lanes (loads give zero beyond).
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

/// Loads f32, bf16 or f16 as f32.
template <class Part>
HWY_INLINE FloatVector load(const float* from, Part part) {
  return loadRaw(FloatTag(), from, part);
}
template <typename T, class Part>
HWY_INLINE FloatVector load(const T* from, Part part) {
  return hn::PromoteTo(FloatTag(), loadRaw(hn::Rebind<T, FloatTag>(), from, part));
}

/// Rounds f32 to bf16. Integer arithmetic, because the instruction of AVX-512 flushes subnormal numbers to zero.
HWY_INLINE hn::Vec<hn::Rebind<hwy::bfloat16_t, FloatTag>> roundToBfloat16(FloatVector v) {
  const hn::RebindToUnsigned<FloatTag> bitsTag;
  const auto bits = hn::BitCast(bitsTag, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(bitsTag, 1u));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(bitsTag, 0x7FFFu)), odd);
  const auto quiet = hn::Or(bits, hn::Set(bitsTag, 0x400000u));
  const auto chosen = hn::IfThenElse(hn::RebindMask(bitsTag, hn::IsNaN(v)), quiet, rounded);
  const hn::Rebind<uint16_t, FloatTag> halfTag;
  return hn::BitCast(hn::Rebind<hwy::bfloat16_t, FloatTag>(), hn::TruncateTo(halfTag, hn::ShiftRight<16>(chosen)));
}

/// Stores f32 as f32, bf16 or f16.
template <class Part>
HWY_INLINE void store(FloatVector v, float* to, Part part) {
  storeRaw(FloatTag(), v, to, part);
}
template <class Part>
HWY_INLINE void store(FloatVector v, hwy::bfloat16_t* to, Part part) {
  storeRaw(hn::Rebind<hwy::bfloat16_t, FloatTag>(), roundToBfloat16(v), to, part);
}
template <class Part>
HWY_INLINE void store(FloatVector v, hwy::float16_t* to, Part part) {
  const hn::Rebind<hwy::float16_t, FloatTag> tag;
  storeRaw(tag, hn::DemoteTo(tag, v), to, part);
}

/// Stores one value, rounded to T.
template <typename T>
HWY_INLINE void storeOne(float value, T* to) {
  store(hn::Set(FloatTag(), value), to, PartVector{1});
}

HWY_INLINE FloatVector broadcast(float value) { return hn::Set(FloatTag(), value); }

/// 2^n for whole n in [-126, 127].
HWY_INLINE FloatVector powerOfTwo(hn::Vec<hn::RebindToSigned<FloatTag>> n) {
  const hn::RebindToSigned<FloatTag> bitsTag;
  return hn::BitCast(FloatTag(), hn::ShiftLeft<23>(hn::Add(n, hn::Set(bitsTag, 127))));
}

/// e^x within 1.5 units in the last place, overflow to infinity, gradual underflow to 0; NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln(2)/2, and the Taylor polynomial of degree 7 for e^r (truncation below 6e-9).
HWY_INLINE FloatVector expFloat(FloatVector x) {
  // Beyond these the result is infinity or 0 anyway. Comparisons, not Min and Max: those may lose a NaN.
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

/// 1 / (1 + e^-x)
HWY_INLINE FloatVector sigmoid(FloatVector x) {
  const FloatVector one = broadcast(1.0f);
  return hn::Div(one, hn::Add(one, expFloat(hn::Neg(x))));
}

/// target[0, count) += source[0, count)
template <typename T>
HWY_INLINE void addTo(float* target, const T* source, int64_t count) {
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    store(hn::Add(load(target + i, part), load(source + i, part)), target + i, part);
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
