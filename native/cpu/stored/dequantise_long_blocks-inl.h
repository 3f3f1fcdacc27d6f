// Blocks of 256 values of GGUF: groups of 16 or 32 values have small integer scales, which the block's f16 scales
// multiply. One function unpacks one block: include it after hwy/foreach_target.h.
#if defined(MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
#undef MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
#else
#define MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
#endif

#include "cpu/stored/dequantise_short_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// 16 bytes of scale (low half) and minimum (high half) of each 16 values, 64 bytes of 2-bit codes, d, dmin;
/// value = d scale code - dmin minimum. A byte holds the codes of values 32 apart.
HWY_INLINE void unpackQ2K(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block + 80), minimum = halfAt(block + 82);
  for (int group = 0; group < 16; ++group) {
    const uint8_t* const codes = block + 16 + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2;
    const float groupScale = scale * static_cast<float>(block[group] & 15);
    const float groupMinimum = minimum * static_cast<float>(block[group] >> 4);
    for (int i = 0; i < 16; ++i)
      values[group * 16 + i] = groupScale * static_cast<float>(codes[i] >> shift & 3) - groupMinimum;
  }
}

/// 32 bytes of third bits (bit b of byte i is of value 32 b + i), 64 bytes of the lower two as in Q2_K, 12 bytes of
/// 6-bit scales of each 16 values, d; value = d (scale - 32) (code - 4)
HWY_INLINE void unpackQ3K(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const uint8_t* const scales = block + 96;
  const float scale = halfAt(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    const float groupScale = scale * static_cast<float>((low | high << 4) - 32);
    const uint8_t* const third = block + group % 2 * 16;
    const uint8_t* const codes = block + 32 + group / 8 * 32 + group % 2 * 16;
    const int shift = group % 8 / 2 * 2, bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      const int code = (codes[i] >> shift & 3) | (third[i] >> bit & 1) << 2;
      values[group * 16 + i] = groupScale * static_cast<float>(code - 4);
    }
  }
}

struct ScaleAndMinimum {
  float scale, minimum;
};

/// 6-bit scale and minimum of group 0 to 7 from the 12 bytes of Q4_K and Q5_K: four scales, four minima, and four bytes
/// with the low halves of the other four of each, whose high bits fill the first eight bytes.
HWY_INLINE ScaleAndMinimum groupScale(const uint8_t* packed, int group) {
  if (group < 4) return {static_cast<float>(packed[group] & 63), static_cast<float>(packed[group + 4] & 63)};
  const int scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
  const int minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

/// d, dmin, 12 bytes of scales and minima of each 32 values, 128 bytes of codes (a byte's halves are 32 values apart);
/// value = d scale code - dmin minimum
HWY_INLINE void unpackQ4K(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block), minimum = halfAt(block + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum small = groupScale(block + 4, group);
    const float groupScale = scale * small.scale, groupMinimum = minimum * small.minimum;
    const uint8_t* const codes = block + 16 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i)
      values[group * 32 + i] = groupScale * static_cast<float>(codes[i] >> shift & 15) - groupMinimum;
  }
}

/// As Q4_K, with 32 bytes of fifth bits (bit b of byte i is of value 32 b + i) before the codes.
HWY_INLINE void unpackQ5K(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block), minimum = halfAt(block + 2);
  const uint8_t* const fifth = block + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum small = groupScale(block + 4, group);
    const float groupScale = scale * small.scale, groupMinimum = minimum * small.minimum;
    const uint8_t* const codes = block + 48 + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int code = (codes[i] >> shift & 15) | (fifth[i] >> group & 1) << 4;
      values[group * 32 + i] = groupScale * static_cast<float>(code) - groupMinimum;
    }
  }
}

/// 128 bytes of the lower four bits, 64 bytes of the upper two, 16 signed scales of each 16 values, d;
/// value = d scale (code - 32). Half of a block (128 values): a byte of lower bits serves values 64 apart, one of upper
/// bits values 32 apart.
HWY_INLINE void unpackQ6K(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block + 208);
  for (int group = 0; group < 16; ++group) {
    const int half = group / 8, quarter = group % 8 / 2, start = group % 2 * 16;
    const uint8_t* const low = block + half * 64 + quarter % 2 * 32 + start;
    const uint8_t* const high = block + 128 + half * 32 + start;
    const int lowShift = quarter / 2 * 4, highShift = quarter * 2;
    const float groupScale = scale * static_cast<float>(static_cast<int8_t>(block[192 + group]));
    for (int i = 0; i < 16; ++i) {
      const int code = (low[i] >> lowShift & 15) | (high[i] >> highShift & 3) << 4;
      values[group * 16 + i] = groupScale * static_cast<float>(code - 32);
    }
  }
}

/// d, 16 upper pairs of bits and 4 bytes of the lower four bits of the scales of each 32 values, then 16 bytes of codes
/// of each 32 as in IQ4_NL; value = d (scale - 32) level
HWY_INLINE void unpackIq4Xs(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block);
  const int upper = block[2] | block[3] << 8;
  for (int group = 0; group < 8; ++group) {
    const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
    const int high = upper >> (group * 2) & 3;
    const float groupScale = scale * static_cast<float>((low | high << 4) - 32);
    const uint8_t* const codes = block + 8 + group * 16;
    for (int i = 0; i < 16; ++i) {
      values[group * 32 + i] = groupScale * static_cast<float>(kIq4Levels[codes[i] & 15]);
      values[group * 32 + i + 16] = groupScale * static_cast<float>(kIq4Levels[codes[i] >> 4]);
    }
  }
}

/// The ternary digits of `count` bytes: value `digit * count + i` is digit `digit` of byte i, the first being the most
/// significant. A byte is a fraction of 256, so the next digit is the integer part of three times it.
template <int Count, int Digits>
HWY_INLINE void unpackTernary(const uint8_t* HWY_RESTRICT bytes, float scale, float* HWY_RESTRICT values) {
  int power = 1;
  for (int digit = 0; digit < Digits; ++digit, power *= 3) {
    for (int i = 0; i < Count; ++i) {
      const int fraction = bytes[i] * power & 255;
      values[digit * Count + i] = scale * static_cast<float>((fraction * 3 >> 8) - 1);
    }
  }
}

/// 48 bytes of five ternary digits (32 bytes, then 16), 4 bytes of four, d; value = d (digit - 1)
HWY_INLINE void unpackTq1_0(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block + 52);
  unpackTernary<32, 5>(block, scale, values);
  unpackTernary<16, 5>(block + 32, scale, values + 160);
  unpackTernary<4, 4>(block + 48, scale, values + 240);
}

/// 64 bytes of four 2-bit codes (values 32 apart), d; value = d (code - 1)
HWY_INLINE void unpackTq2_0(const uint8_t* HWY_RESTRICT block, float* HWY_RESTRICT values) {
  const float scale = halfAt(block + 64);
  for (int group = 0; group < 8; ++group) {
    const uint8_t* const codes = block + group / 4 * 32;
    const int shift = group % 4 * 2;
    for (int i = 0; i < 32; ++i) values[group * 32 + i] = scale * static_cast<float>((codes[i] >> shift & 3) - 1);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
