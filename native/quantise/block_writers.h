// Writes one block of each format, as ggml does (ggml-quants.c).
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include "quantise/fits.h"

namespace mora::quantise {

/// The importance of each value of a block: the mean square of the inputs of its column. Null if unknown.
struct Importance {
  const float* columns = nullptr;
  /// Mean square of the values of the block's row.
  float meanSquare = 0;

  explicit operator bool() const { return columns != nullptr; }
};

/// Writes the values of one block.
using BlockWriter = void (*)(const float* values, const Importance& importance, uint8_t* block);

void writeQ4_0(const float* values, const Importance& importance, uint8_t* block);
void writeQ4_1(const float* values, const Importance& importance, uint8_t* block);
void writeQ5_0(const float* values, const Importance& importance, uint8_t* block);
void writeQ5_1(const float* values, const Importance& importance, uint8_t* block);
void writeQ8_0(const float* values, const Importance& importance, uint8_t* block);
void writeMxfp4(const float* values, const Importance& importance, uint8_t* block);
void writeQ4K(const float* values, const Importance& importance, uint8_t* block);
void writeQ5K(const float* values, const Importance& importance, uint8_t* block);
void writeQ6K(const float* values, const Importance& importance, uint8_t* block);
void writeIq4Nl(const float* values, const Importance& importance, uint8_t* block);
void writeIq4Xs(const float* values, const Importance& importance, uint8_t* block);

/// The bits of a finite value as float16, to nearest even.
inline uint16_t float16Bits(float value) {
  const float magnitude = std::fabs(value);
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x1p-14f) return static_cast<uint16_t>(sign | static_cast<uint16_t>(nearest(magnitude * 0x1p24f)));
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  return static_cast<uint16_t>(sign | (((bits + 0xfff + ((bits >> 13) & 1)) >> 13) - (112 << 10)));
}

inline float float16Value(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fffu;
  const float value = magnitude < 0x400 ? static_cast<float>(magnitude) * 0x1p-24f
                                        : std::bit_cast<float>((magnitude << 13) + (112u << 23));
  return bits & 0x8000 ? -value : value;
}

/// Writes a scale as float16 and returns its rounded value.
inline float putFloat16(uint8_t* bytes, float value) {
  const uint16_t bits = float16Bits(value);
  bytes[0] = static_cast<uint8_t>(bits), bytes[1] = static_cast<uint8_t>(bits >> 8);
  return float16Value(bits);
}

/// Packs the low halves of 32 codes: those of i and i + 16 into one byte.
inline void putNibbles(const uint8_t* codes, uint8_t* bytes) {
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

/// Weights of the errors of values: the column's importance, and more for large values.
inline void weigh(const float* values, const float* columns, float meanSquare, int count, float* weights) {
  for (int i = 0; i < count; ++i) weights[i] = columns[i] * std::sqrt(meanSquare + values[i] * values[i]);
}

}  // namespace mora::quantise
