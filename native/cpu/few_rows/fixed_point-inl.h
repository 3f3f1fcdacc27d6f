// Activations as fixed-point numbers, for products with GGUF's blocks, for one instruction set at a time: include it
// after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_FIXED_POINT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_FIXED_POINT_INL_H_
#undef MORA_CPU_FIXED_POINT_INL_H_
#else
#define MORA_CPU_FIXED_POINT_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstring>

#include "core/dtype.h"
#include "cpu/few_rows/block_layout.h"
#include "cpu/float_types.h"
#include "cpu/simd_float-inl.h"
#include "cpu/stored/dequantise_long_blocks-inl.h"
#include "cpu/tensor_view.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// The largest code: as 256 high + low, both bytes are at most 127.
constexpr int16_t kMostCode = 127 * 257;

/// A group's scale, and the sum of its values.
struct GroupFactors {
  float scale, sum;
};

/// codes [32] of 32 values: value = code scale. Non-finite values make the scale non-finite, and so every sum that
/// contains it.
template <typename T>
HWY_INLINE GroupFactors fixGroup(const T* HWY_RESTRICT values, int16_t* HWY_RESTRICT codes) {
  const hn::CappedTag<float, 16> floats;
  const hn::Rebind<int32_t, decltype(floats)> integers;
  const hn::Rebind<int16_t, decltype(floats)> words;
  constexpr size_t kLanes = hn::MaxLanes(floats);
  float wide[kGroup];
  forVectors(kGroup, [&](int64_t i, auto part) HWY_ATTR { store(load(values + i, part), wide + i, part); });
  // Magnitudes of floats are ordered like their bits, with NaN above all.
  auto largest = hn::Zero(integers);
  for (size_t i = 0; i < kGroup; i += kLanes)
    largest = hn::Max(largest, hn::BitCast(integers, hn::Abs(hn::LoadU(floats, wide + i))));
  const float size = std::bit_cast<float>(hn::ReduceMax(integers, largest));
  const bool usable = size > 0 && size < hwy::HighestValue<float>();
  const auto steps = hn::Set(floats, usable ? kMostCode / size : 0.0f);
  const auto most = hn::Set(floats, kMostCode);
  auto sum = hn::Zero(integers);
  for (size_t i = 0; i < kGroup; i += kLanes) {
    const auto step = hn::Max(hn::Min(hn::Mul(hn::LoadU(floats, wide + i), steps), most), hn::Neg(most));
    const auto code = hn::NearestInt(step);
    sum = hn::Add(sum, code);
    hn::StoreU(hn::DemoteTo(words, code), words, codes + i);
  }
  const float scale = size / kMostCode;
  return {scale, scale * static_cast<float>(hn::ReduceSum(integers, sum))};
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
