#include "cpu/products/rounded_rows.h"

#include <bit>
#include <limits>
#include <type_traits>

#include "cpu/float_types.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/products/rounded_rows.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// The largest code, and the offset of unsigned codes.
constexpr float kMostCode = 127;
constexpr int32_t kUnsignedOffset = 128;

/// Number of values that H combines; their sum is larger by the root.
constexpr int64_t kSpread = 16;
constexpr float kSpreadLength = 4;

using IntegerTag = hn::RebindToSigned<FloatTag>;
using IntegerVector = hn::Vec<IntegerTag>;

/// The larger magnitude in each lane, as bits: floats' magnitudes are ordered like their bits, with NaN above all.
HWY_INLINE IntegerVector largerSize(IntegerVector bits, FloatVector value) {
  return hn::Max(bits, hn::BitCast(IntegerTag(), hn::Abs(value)));
}

/// to [count] = from times factors, if there are any; returns the largest magnitudes.
template <typename T>
HWY_INLINE IntegerVector readRow(const T* HWY_RESTRICT from, const float* HWY_RESTRICT factors, float* HWY_RESTRICT to,
                                 int64_t count) {
  IntegerVector largest = hn::Zero(IntegerTag());
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector value = load(from + i, part);
    if (factors) value = hn::Mul(value, load(factors + i, part));
    largest = largerSize(largest, value);
    store(value, to + i, part);
  });
  return largest;
}

/// to [count] = 4 from H, for a multiple of 16 values; returns the largest magnitudes.
template <typename T>
HWY_INLINE IntegerVector spreadRow(const T* HWY_RESTRICT from, float* HWY_RESTRICT to, int64_t count) {
  IntegerVector largest = hn::Zero(IntegerTag());
  const int64_t apart = count / kSpread;
  forVectors(apart, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector v[kSpread];
#pragma GCC unroll 16
    for (int64_t j = 0; j < kSpread; ++j) v[j] = load(from + j * apart + i, part);
#pragma GCC unroll 4
    for (int64_t bit = 1; bit < kSpread; bit *= 2) {
#pragma GCC unroll 16
      for (int64_t j = 0; j < kSpread; ++j) {
        if (j & bit) continue;
        const FloatVector low = v[j], high = v[j + bit];
        v[j] = hn::Add(low, high);
        v[j + bit] = hn::Sub(low, high);
      }
    }
#pragma GCC unroll 16
    for (int64_t j = 0; j < kSpread; ++j) {
      largest = largerSize(largest, v[j]);
      store(v[j], to + j * apart + i, part);
    }
  });
  return largest;
}

/// codes [count] = values / scale, rounded; returns their sum, without the offset of unsigned codes.
template <typename Code>
HWY_INLINE int32_t encodeRow(const float* HWY_RESTRICT values, int64_t count, float steps, Code* HWY_RESTRICT codes) {
  constexpr int32_t kOffset = std::is_unsigned_v<Code> ? kUnsignedOffset : 0;
  const hn::Rebind<Code, FloatTag> bytes;
  IntegerVector sum = hn::Zero(IntegerTag());
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const IntegerVector code = hn::NearestInt(hn::Mul(load(values + i, part), broadcast(steps)));
    sum = hn::Add(sum, code);
    storeRaw(bytes, hn::DemoteTo(bytes, hn::Add(code, hn::Set(IntegerTag(), kOffset))), codes + i, part);
  });
  return hn::ReduceSum(IntegerTag(), sum);
}

void RoundRows(const TensorDesc& a, RowChange change, const RoundedRows& rounded, int64_t begin, int64_t end) {
  const int64_t count = a.shape[1];
  const bool spreads = change.spreads && count % kSpread == 0;
  Scratch scratch;
  auto* const values = scratch.take<float>(count);
  for (int64_t row = begin; row < end; ++row) {
    float size = 0;
    withFloatType(a.dtype, "matmulInt8", [&](auto type) HWY_ATTR {
      const auto* const from = rowOf<const decltype(type)>(a, row);
      const IntegerVector largest =
          spreads ? spreadRow(from, values, count) : readRow(from, change.factors, values, count);
      size = std::bit_cast<float>(hn::ReduceMax(IntegerTag(), largest));
    });
    // The inverse of a smaller scale would overflow; such products vanish beside all others.
    const bool finite = size <= hwy::HighestValue<float>();
    const float steps = finite && size > 0x1p-100f ? kMostCode / size : 0.0f;
    const float scale = finite ? size / kMostCode : std::numeric_limits<float>::quiet_NaN();
    int8_t* const codes = rounded.codes + row * count;
    const int32_t sum = rounded.isUnsigned ? encodeRow(values, count, steps, reinterpret_cast<uint8_t*>(codes))
                                           : encodeRow(values, count, steps, codes);
    rounded.scales[row] = spreads ? scale / kSpreadLength : scale;
    if (rounded.corrections)
      rounded.corrections[row] = static_cast<float>(-kUnsignedOffset * sum) * rounded.scales[row];
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(RoundRows);

void roundRows(const TensorDesc& a, RowChange change, const RoundedRows& rounded) {
  parallelRanges(a.shape[0], a.shape[1], [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(RoundRows)(a, change, rounded, begin, end);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
