// Blocks of 256 values of GGUF: groups of 16 or 32 values have small integer scales, which are multiplied by the
// block's f16 scales. One function unpacks one block: include it after hwy/foreach_target.h.
#if defined(MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
#undef MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
#else
#define MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
#endif

#include "cpu/stored/dequantise_short_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// codes [256] of 2 bits in 64 bytes: a byte contains the codes of four values that are 32 apart.
HWY_INLINE void unpackQuarters(const uint8_t* HWY_RESTRICT bytes, uint8_t* HWY_RESTRICT codes) {
  for (int half = 0; half < 2; ++half)
    for (int quarter = 0; quarter < 4; ++quarter)
      for (int i = 0; i < 32; ++i) codes[half * 128 + quarter * 32 + i] = bytes[half * 32 + i] >> (2 * quarter) & 3;
}

/// 16 bytes of scale (low half) and minimum (high half) of each 16 values, 64 bytes of 2-bit codes, d, dmin; value = d
/// scale code - dmin minimum. A byte contains the codes of values 32 apart.
template <typename T>
HWY_INLINE void unpackQ2K(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const float scale = halfAt(block + 80), minimum = halfAt(block + 82);
  uint8_t codes[256];
  unpackQuarters(block + 16, codes);
  for (int group = 0; group < 16; ++group) {
    const float groupScale = scale * static_cast<float>(block[group] & 15);
    const float groupMinimum = minimum * static_cast<float>(block[group] >> 4);
    scaleCodes(codes + group * 16, 16, groupScale, -groupMinimum, values + group * 16);
  }
}

/// 32 bytes of third bits (bit b of byte i belongs to value 32 b + i), 64 bytes of the lower two as in Q2_K, 12 bytes
/// of 6-bit scales of each 16 values, d; value = d (scale - 32) (code - 4)
template <typename T>
HWY_INLINE void unpackQ3K(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const uint8_t* const scales = block + 96;
  const float scale = halfAt(block + 108);
  uint8_t lower[256];
  int8_t codes[256];
  unpackQuarters(block + 32, lower);
  for (int bit = 0; bit < 8; ++bit)
    for (int i = 0; i < 32; ++i)
      codes[bit * 32 + i] = static_cast<int8_t>((lower[bit * 32 + i] | (block[i] >> bit & 1) << 2) - 4);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    const int high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    const float groupScale = scale * static_cast<float>((low | high << 4) - 32);
    scaleCodes(codes + group * 16, 16, groupScale, values + group * 16);
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

/// values [256] = d scale code - dmin minimum, for a block that starts like Q4_K's.
template <typename T>
HWY_INLINE void scaleGroups(const uint8_t* HWY_RESTRICT block, const uint8_t* HWY_RESTRICT codes,
                            T* HWY_RESTRICT values) {
  const float scale = halfAt(block), minimum = halfAt(block + 2);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum small = groupScale(block + 4, group);
    scaleCodes(codes + group * 32, 32, scale * small.scale, -(minimum * small.minimum), values + group * 32);
  }
}

/// codes [256] of 128 bytes, whose halves are 32 values apart.
HWY_INLINE void unpackHalves(const uint8_t* HWY_RESTRICT pairs, uint8_t* HWY_RESTRICT codes) {
  for (int two = 0; two < 4; ++two) {
    for (int i = 0; i < 32; ++i) {
      codes[two * 64 + i] = pairs[two * 32 + i] & 15;
      codes[two * 64 + 32 + i] = pairs[two * 32 + i] >> 4;
    }
  }
}

/// d, dmin, 12 bytes of scales and minima of each 32 values, 128 bytes of codes (a byte's halves are 32 values apart);
/// value = d scale code - dmin minimum
template <typename T>
HWY_INLINE void unpackQ4K(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  uint8_t codes[256];
  unpackHalves(block + 16, codes);
  scaleGroups(block, codes, values);
}

/// Like Q4_K, with 32 bytes of fifth bits (bit b of byte i belongs to value 32 b + i) before the codes.
template <typename T>
HWY_INLINE void unpackQ5K(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const uint8_t* const fifth = block + 16;
  uint8_t codes[256];
  unpackHalves(block + 48, codes);
  for (int bit = 0; bit < 8; ++bit)
    for (int i = 0; i < 32; ++i)
      codes[bit * 32 + i] = static_cast<uint8_t>(codes[bit * 32 + i] | (fifth[i] >> bit & 1) << 4);
  scaleGroups(block, codes, values);
}

/// 128 bytes of the lower four bits, 64 bytes of the upper two, 16 signed scales of each 16 values, d; value = d scale
/// (code - 32). In each half of a block (128 values), the lower bits in a byte belong to values 64 apart, the upper
/// bits to values 32 apart.
template <typename T>
HWY_INLINE void unpackQ6K(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const float scale = halfAt(block + 208);
  uint8_t upper[256];
  int8_t codes[256];
  unpackQuarters(block + 128, upper);
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 64; ++i) {
      const int low = block[half * 64 + i], at = half * 128 + i;
      codes[at] = static_cast<int8_t>(((low & 15) | upper[at] << 4) - 32);
      codes[at + 64] = static_cast<int8_t>((low >> 4 | upper[at + 64] << 4) - 32);
    }
  }
  for (int group = 0; group < 16; ++group) {
    const float groupScale = scale * static_cast<float>(static_cast<int8_t>(block[192 + group]));
    scaleCodes(codes + group * 16, 16, groupScale, values + group * 16);
  }
}

/// d, 16 upper pairs of bits and 4 bytes of the lower four bits of the scales of each 32 values, then 16 bytes of codes
/// of each 32 as in IQ4_NL; value = d (scale - 32) level
template <typename T>
HWY_INLINE void unpackIq4Xs(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  const float scale = halfAt(block);
  const int upper = block[2] | block[3] << 8;
  for (int group = 0; group < 8; ++group) {
    const int low = block[4 + group / 2] >> (group % 2 * 4) & 15;
    const int high = upper >> (group * 2) & 3;
    const float groupScale = scale * static_cast<float>((low | high << 4) - 32);
    unpackLevels(block + 8 + group * 16, kIq4Levels, groupScale, values + group * 32);
  }
}

/// The ternary digits of `count` bytes, minus 1: `digit * count + i` is digit `digit` of byte i, the most significant
/// first. A byte is a fraction of 256, so the next digit is the integer part of three times it.
template <int Count, int Digits>
HWY_INLINE void unpackTernary(const uint8_t* HWY_RESTRICT bytes, int8_t* HWY_RESTRICT digits) {
  int power = 1;
  for (int digit = 0; digit < Digits; ++digit, power *= 3) {
    for (int i = 0; i < Count; ++i) {
      const int fraction = bytes[i] * power & 255;
      digits[digit * Count + i] = static_cast<int8_t>((fraction * 3 >> 8) - 1);
    }
  }
}

/// 48 bytes of five ternary digits (32 bytes, then 16), 4 bytes of four, d; value = d (digit - 1)
template <typename T>
HWY_INLINE void unpackTq1_0(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  int8_t digits[256];
  unpackTernary<32, 5>(block, digits);
  unpackTernary<16, 5>(block + 32, digits + 160);
  unpackTernary<4, 4>(block + 48, digits + 240);
  scaleCodes(digits, 256, halfAt(block + 52), values);
}

/// 64 bytes of four 2-bit codes (values 32 apart), d; value = d (code - 1)
template <typename T>
HWY_INLINE void unpackTq2_0(const uint8_t* HWY_RESTRICT block, T* HWY_RESTRICT values) {
  uint8_t codes[256];
  int8_t digits[256];
  unpackQuarters(block, codes);
  for (int i = 0; i < 256; ++i) digits[i] = static_cast<int8_t>(codes[i] - 1);
  scaleCodes(digits, 256, halfAt(block + 64), values);
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MORA_CPU_DEQUANTISE_LONG_BLOCKS_INL_H_
