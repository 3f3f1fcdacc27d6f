// Blocks of 32 values of GGUF, and what all its blocks share. One function unpacks one block, for one instruction set
// at a time: include it after hwy/foreach_target.h. The formats of most files are written with vectors; the loops of
// the others are plain, for the compiler to vectorise.
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

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// The f16 at `bytes`, exact, with infinities and NaN.
HWY_INLINE float halfAt(const uint8_t* bytes) {
  const uint32_t bits = bytes[0] | static_cast<uint32_t>(bytes[1]) << 8;
  const uint32_t sign = (bits & 0x8000) << 16, magnitude = (bits & 0x7FFF) << 13;
  // The exponents' biases differ by 112; a product moves subnormal numbers too.
  const uint32_t finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  return std::bit_cast<float>(sign | (magnitude < 0x0F800000 ? finite : magnitude | 0x7F800000));
}

HWY_INLINE uint32_t wordAt(const uint8_t* bytes) {
  return bytes[0] | static_cast<uint32_t>(bytes[1]) << 8 | static_cast<uint32_t>(bytes[2]) << 16 |
         static_cast<uint32_t>(bytes[3]) << 24;
}

namespace hn = hwy::HWY_NAMESPACE;

/// Vectors of at most 16 values: they divide the halves of a block.
using BlockTag = hn::CappedTag<float, 16>;
using BlockVector = hn::Vec<BlockTag>;

using BlockIntegers = hn::Vec<hn::Rebind<int32_t, BlockTag>>;

/// values [32] = valuesOf(codes) for 16 bytes of two codes each; valuesOf maps a vector of integers to one of floats.
template <class ValuesOf>
HWY_INLINE void unpackPairs(const uint8_t* HWY_RESTRICT pairs, float* HWY_RESTRICT values, ValuesOf valuesOf) {
  const BlockTag floats;
  const hn::Rebind<int32_t, BlockTag> integers;
  const hn::Rebind<uint8_t, BlockTag> bytes;
  for (size_t i = 0; i < 16; i += hn::Lanes(floats)) {
    const BlockIntegers pair = hn::PromoteTo(integers, hn::LoadU(bytes, pairs + i));
    hn::StoreU(valuesOf(hn::And(pair, hn::Set(integers, 15))), floats, values + i);
    hn::StoreU(valuesOf(hn::ShiftRight<4>(pair)), floats, values + 16 + i);
  }
}

/// d, 16 bytes of codes; value = d (code - 8)
HWY_INLINE void unpackQ4_0(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const BlockTag floats;
  const BlockVector scale = hn::Set(floats, halfAt(block));
  const BlockIntegers middle = hn::Set(hn::Rebind<int32_t, BlockTag>(), 8);
  unpackPairs(block + 2, values, [&](BlockIntegers codes) HWY_ATTR {
    return hn::Mul(scale, hn::ConvertTo(floats, hn::Sub(codes, middle)));
  });
}

/// d, m, 16 bytes of codes; value = d code + m
HWY_INLINE void unpackQ4_1(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const BlockTag floats;
  const BlockVector scale = hn::Set(floats, halfAt(block)), minimum = hn::Set(floats, halfAt(block + 2));
  unpackPairs(block + 4, values,
              [&](BlockIntegers codes) HWY_ATTR { return hn::MulAdd(scale, hn::ConvertTo(floats, codes), minimum); });
}

/// values [32] = valuesOf(codes) for 16 bytes of two lower halves of codes each, whose fifth bits are in `fifths`.
template <class ValuesOf>
HWY_INLINE void unpackFives(const uint8_t* HWY_RESTRICT pairs, uint32_t fifths, float* HWY_RESTRICT values,
                            ValuesOf valuesOf) {
  const BlockTag floats;
  const hn::Rebind<int32_t, BlockTag> integers;
  const hn::Rebind<uint32_t, BlockTag> words;
  const hn::Rebind<uint8_t, BlockTag> bytes;
  const auto with = [&](BlockIntegers lower, uint32_t bits, size_t i) HWY_ATTR {
    const auto lane = hn::Iota(words, static_cast<uint32_t>(i));
    const auto bit = hn::And(hn::Shr(hn::Set(words, bits), lane), hn::Set(words, 1));
    return valuesOf(hn::Or(lower, hn::BitCast(integers, hn::ShiftLeft<4>(bit))));
  };
  for (size_t i = 0; i < 16; i += hn::Lanes(floats)) {
    const BlockIntegers pair = hn::PromoteTo(integers, hn::LoadU(bytes, pairs + i));
    hn::StoreU(with(hn::And(pair, hn::Set(integers, 15)), fifths, i), floats, values + i);
    hn::StoreU(with(hn::ShiftRight<4>(pair), fifths >> 16, i), floats, values + 16 + i);
  }
}

/// d, 32 fifth bits, 16 bytes of the lower four; value = d (code - 16)
HWY_INLINE void unpackQ5_0(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const BlockTag floats;
  const BlockVector scale = hn::Set(floats, halfAt(block));
  const BlockIntegers middle = hn::Set(hn::Rebind<int32_t, BlockTag>(), 16);
  unpackFives(block + 6, wordAt(block + 2), values, [&](BlockIntegers codes) HWY_ATTR {
    return hn::Mul(scale, hn::ConvertTo(floats, hn::Sub(codes, middle)));
  });
}

/// d, m, 32 fifth bits, 16 bytes of the lower four; value = d code + m
HWY_INLINE void unpackQ5_1(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const BlockTag floats;
  const BlockVector scale = hn::Set(floats, halfAt(block)), minimum = hn::Set(floats, halfAt(block + 2));
  unpackFives(block + 8, wordAt(block + 4), values,
              [&](BlockIntegers codes) HWY_ATTR { return hn::MulAdd(scale, hn::ConvertTo(floats, codes), minimum); });
}

/// d, 32 signed bytes; value = d code
HWY_INLINE void unpackQ8_0(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const BlockTag floats;
  const hn::Rebind<int32_t, BlockTag> integers;
  const hn::Rebind<int8_t, BlockTag> bytes;
  const auto* const codes = reinterpret_cast<const int8_t*>(block + 2);
  const BlockVector scale = hn::Set(floats, halfAt(block));
  for (size_t i = 0; i < 32; i += hn::Lanes(floats)) {
    const BlockVector code = hn::ConvertTo(floats, hn::PromoteTo(integers, hn::LoadU(bytes, codes + i)));
    hn::StoreU(hn::Mul(scale, code), floats, values + i);
  }
}

/// Levels of the 4-bit codes of IQ4, denser near zero.
alignas(16) constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

/// d, 16 bytes of codes; value = d level
HWY_INLINE void unpackIq4Nl(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block);
  const uint8_t* const codes = block + 2;
  for (int i = 0; i < 16; ++i) {
    values[i] = scale * static_cast<float>(kIq4Levels[codes[i] & 15]);
    values[i + 16] = scale * static_cast<float>(kIq4Levels[codes[i] >> 4]);
  }
}

/// Twice the sixteen numbers of FP4 (E2M1); its negative zero is plain zero here.
alignas(16) constexpr int8_t kFp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(e - 128), which is subnormal for the two smallest e.
HWY_INLINE float halfPowerOf(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

/// Exponent e, 16 bytes of codes; value = 2^(e - 127) fp4
HWY_INLINE void unpackMxfp4(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float half = halfPowerOf(block[0]);
  const uint8_t* const codes = block + 1;
  for (int i = 0; i < 16; ++i) {
    values[i] = half * static_cast<float>(kFp4Doubled[codes[i] & 15]);
    values[i + 16] = half * static_cast<float>(kFp4Doubled[codes[i] >> 4]);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MORA_CPU_DEQUANTISE_SHORT_BLOCKS_INL_H_
