// Blocks of 32 values of GGUF, and helpers for all its blocks. One function unpacks one block into f32, bf16 or f16,
// for one instruction set at a time: include it after hwy/foreach_target.h. Most first unpack codes to bytes, in plain
// loops that the compiler vectorises, or by table.
//
// Sixteen bytes hold 32 codes of 4 bits: the low halves are the first 16 values, the high halves the last.
#if defined(MORA_CPU_DEQUANTISE_SHORT_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_DEQUANTISE_SHORT_BLOCKS_INL_H_
#undef MORA_CPU_DEQUANTISE_SHORT_BLOCKS_INL_H_
#else
#define MORA_CPU_DEQUANTISE_SHORT_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// The f16 at `bytes`, exact, with infinities and NaN.
HWY_INLINE float halfAt(const uint8_t* bytes) {
#if HWY_TARGET <= HWY_AVX2
  const hn::FixedTag<uint16_t, 4> bits;
  const auto half = hn::Set(bits, static_cast<uint16_t>(bytes[0] | bytes[1] << 8));
  return hn::GetLane(hn::PromoteTo(hn::FixedTag<float, 4>(), hn::BitCast(hn::FixedTag<hwy::float16_t, 4>(), half)));
#else
  const uint32_t bits = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8;
  const uint32_t sign = (bits & 0x8000) << 16, magnitude = (bits & 0x7FFF) << 13;
  // The exponents' biases differ by 112; a product also scales subnormal numbers correctly.
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  return std::bit_cast<float>(sign | (magnitude < 0x0F800000 ? finite : magnitude | 0x7F800000));
#endif
}

struct TwoHalves {
  FloatVector first, second;
};

/// The two f16 at `bytes`, each in all lanes.
HWY_INLINE TwoHalves halvesAt(const uint8_t* bytes) {
#if HWY_TARGET <= HWY_AVX3
  uint32_t both;
  std::memcpy(&both, bytes, sizeof(both));
  const hn::Half<hn::ScalableTag<uint32_t>> words;
  const FloatVector halves = hn::PromoteTo(FloatTag(), hn::BitCast(Float16Tag(), hn::Set(words, both)));
  return {hn::DupEven(halves), hn::DupOdd(halves)};
#else
  return {broadcast(halfAt(bytes)), broadcast(halfAt(bytes + 2))};
#endif
}

HWY_INLINE uint32_t wordAt(const uint8_t* bytes) {
  return bytes[0] | static_cast<uint32_t>(bytes[1]) << 8 | static_cast<uint32_t>(bytes[2]) << 16 |
         static_cast<uint32_t>(bytes[3]) << 24;
}

using CodeTag = hn::RebindToSigned<FloatTag>;
using CodeVector = hn::Vec<CodeTag>;

/// values [count] = scale code (+ offset), for a multiple of 16 codes.
template <typename Code, typename T>
HWY_INLINE void scaleCodes(const Code* HWY_RESTRICT codes, int count, float scale, T* HWY_RESTRICT values) {
  for (int i = 0; i < count; i += static_cast<int>(hn::Lanes(FloatTag()))) {
    const CodeVector code = hn::PromoteTo(CodeTag(), hn::LoadU(hn::Rebind<Code, FloatTag>(), codes + i));
    store(hn::Mul(broadcast(scale), hn::ConvertTo(FloatTag(), code)), values + i, WholeVector{});
  }
}
template <typename Code, typename T>
HWY_INLINE void scaleCodes(const Code* HWY_RESTRICT codes, int count, float scale, float offset,
                           T* HWY_RESTRICT values) {
  for (int i = 0; i < count; i += static_cast<int>(hn::Lanes(FloatTag()))) {
    const CodeVector code = hn::PromoteTo(CodeTag(), hn::LoadU(hn::Rebind<Code, FloatTag>(), codes + i));
    store(hn::MulAdd(broadcast(scale), hn::ConvertTo(FloatTag(), code), broadcast(offset)), values + i, WholeVector{});
  }
}

/// values [32] = valuesOf(codes) for 16 bytes of two codes each; valuesOf maps a vector of integers to one of floats.
template <typename T, class ValuesOf>
HWY_INLINE void unpackPairs(const uint8_t* HWY_RESTRICT pairs, T* HWY_RESTRICT values, ValuesOf valuesOf) {
#if HWY_TARGET <= HWY_AVX3
  // Looks up the 16 possible values, which are rounded once.
  if constexpr (sizeof(T) == sizeof(uint16_t)) {
    const hn::FixedTag<uint8_t, 32> pair;
    const hn::FixedTag<uint16_t, 32> words;
    alignas(32) T table[16];
    store(valuesOf(hn::Iota(CodeTag(), 0)), table, WholeVector{});
    const auto known =
        hn::ZeroExtendVector(words, hn::Load(hn::Half<decltype(words)>(), reinterpret_cast<const uint16_t*>(table)));
    const auto shifts = hn::IfThenElseZero(hn::Ge(hn::Iota(words, 0), hn::Set(words, 16)), hn::Set(words, 4));
    const auto codes = hn::Shr(hn::PromoteTo(words, hn::LoadDup128(pair, pairs)), shifts);
    const auto found = hn::TableLookupLanes(known, hn::IndicesFromVec(words, hn::And(codes, hn::Set(words, 15))));
    hn::StoreU(found, words, reinterpret_cast<uint16_t*>(values));
    return;
  }
#endif
  const hn::Rebind<uint8_t, FloatTag> bytes;
  for (size_t i = 0; i < 16; i += hn::Lanes(FloatTag())) {
    const CodeVector pair = hn::PromoteTo(CodeTag(), hn::LoadU(bytes, pairs + i));
    store(valuesOf(hn::And(pair, hn::Set(CodeTag(), 15))), values + i, WholeVector{});
    store(valuesOf(hn::ShiftRight<4>(pair)), values + 16 + i, WholeVector{});
  }
}

/// scale (code - centre), or scale code + offset
HWY_INLINE FloatVector centred(CodeVector code, float scale, int32_t centre) {
  return hn::Mul(broadcast(scale), hn::ConvertTo(FloatTag(), hn::Sub(code, hn::Set(CodeTag(), centre))));
}
HWY_INLINE FloatVector raised(CodeVector code, const TwoHalves& scaleAndOffset) {
  return hn::MulAdd(scaleAndOffset.first, hn::ConvertTo(FloatTag(), code), scaleAndOffset.second);
}

/// d, 16 bytes of codes; value = d (code - 8)
template <typename T>
HWY_INLINE void unpackQ4_0(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const float scale = halfAt(block);
  unpackPairs(block + 2, values, [&](CodeVector codes) HWY_ATTR { return centred(codes, scale, 8); });
}

/// d, m, 16 bytes of codes; value = d code + m
template <typename T>
HWY_INLINE void unpackQ4_1(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const TwoHalves halves = halvesAt(block);
  unpackPairs(block + 4, values, [&](CodeVector codes) HWY_ATTR { return raised(codes, halves); });
}

/// values [32] = valuesOf(codes); 16 bytes contain the lower halves of two codes each, `fifths` their fifth bits.
template <typename T, class ValuesOf>
HWY_INLINE void unpackFives(const uint8_t* HWY_RESTRICT pairs, uint32_t fifths, T* HWY_RESTRICT values,
                            ValuesOf valuesOf) {
  const hn::Rebind<uint8_t, FloatTag> bytes;
  const auto with = [&](CodeVector lower, uint32_t bits, size_t i) HWY_ATTR {
    const auto lane = hn::Iota(BitsTag(), static_cast<uint32_t>(i));
    const auto bit = hn::And(hn::Shr(broadcastBits(bits), lane), broadcastBits(1));
    return valuesOf(hn::Or(lower, hn::BitCast(CodeTag(), hn::ShiftLeft<4>(bit))));
  };
  for (size_t i = 0; i < 16; i += hn::Lanes(FloatTag())) {
    const CodeVector pair = hn::PromoteTo(CodeTag(), hn::LoadU(bytes, pairs + i));
    store(with(hn::And(pair, hn::Set(CodeTag(), 15)), fifths, i), values + i, WholeVector{});
    store(with(hn::ShiftRight<4>(pair), fifths >> 16, i), values + 16 + i, WholeVector{});
  }
}

/// d, 32 fifth bits, 16 bytes of the lower four; value = d (code - 16)
template <typename T>
HWY_INLINE void unpackQ5_0(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const float scale = halfAt(block);
  unpackFives(block + 6, wordAt(block + 2), values,
              [&](CodeVector codes) HWY_ATTR { return centred(codes, scale, 16); });
}

/// d, m, 32 fifth bits, 16 bytes of the lower four; value = d code + m
template <typename T>
HWY_INLINE void unpackQ5_1(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const TwoHalves halves = halvesAt(block);
  unpackFives(block + 8, wordAt(block + 4), values, [&](CodeVector codes) HWY_ATTR { return raised(codes, halves); });
}

/// d, 32 signed bytes; value = d code
template <typename T>
HWY_INLINE void unpackQ8_0(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  scaleCodes(reinterpret_cast<const int8_t*>(block + 2), 32, halfAt(block), values);
}

/// values [32] = scale level, for the levels of 4-bit codes in 16 bytes
template <typename T>
HWY_INLINE void unpackLevels(const uint8_t* HWY_RESTRICT pairs, const int8_t (&levels)[16], float scale,
                             T* HWY_RESTRICT values) {
  const hn::FixedTag<uint8_t, 16> bytes;
  const hn::FixedTag<int8_t, 16> level;
  const auto table = hn::Load(level, levels);
  const auto pair = hn::LoadU(bytes, pairs);
  alignas(16) int8_t found[32];
  hn::Store(hn::TableLookupBytes(table, hn::BitCast(level, hn::And(pair, hn::Set(bytes, 15)))), level, found);
  hn::Store(hn::TableLookupBytes(table, hn::BitCast(level, hn::ShiftRight<4>(pair))), level, found + 16);
  scaleCodes(found, 32, scale, values);
}

/// Levels of the 4-bit codes of IQ4, denser near zero.
alignas(16) constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

/// d, 16 bytes of codes; value = d level
template <typename T>
HWY_INLINE void unpackIq4Nl(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  unpackLevels(block + 2, kIq4Levels, halfAt(block), values);
}

/// Twice the sixteen numbers of FP4 (E2M1); its negative zero becomes plain zero.
alignas(16) constexpr int8_t kFp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(e - 128), which is subnormal for the two smallest e.
HWY_INLINE float halfPowerOf(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

/// Exponent e, 16 bytes of codes; value = 2^(e - 127) fp4
template <typename T>
HWY_INLINE void unpackMxfp4(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  unpackLevels(block + 1, kFp4Doubled, halfPowerOf(block[0]), values);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MORA_CPU_DEQUANTISE_SHORT_BLOCKS_INL_H_
