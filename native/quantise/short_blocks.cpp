// Blocks of 32 values with one scale.
#include <algorithm>

#include "quantise/block_writers.h"

namespace mora::quantise {
namespace {

constexpr int kCount = 32;

/// Packs the fifth bits of codes.
void putHighBits(const uint8_t* codes, uint8_t* bytes) {
  std::fill_n(bytes, 4, uint8_t{0});
  for (int i = 0; i < kCount; ++i) bytes[i / 8] |= static_cast<uint8_t>((codes[i] >> 4 & 1) << i % 8);
}

/// Levels around zero; the value of the largest magnitude has the lowest level. Returns the scale.
float levelsAroundZero(const float* values, int half, uint8_t* levels) {
  const float scale = peakOf(values, kCount) / static_cast<float>(-half), inverse = inverseOf(scale);
  const float shift = static_cast<float>(half) + 0.5f;
  for (int i = 0; i < kCount; ++i)
    levels[i] = static_cast<uint8_t>(std::min(static_cast<int>(values[i] * inverse + shift), 2 * half - 1));
  return scale;
}

template <int half>
void writeAroundZero(const float* values, const Importance& importance, uint8_t* block) {
  uint8_t levels[kCount];
  float scale;
  if (importance) {
    float weights[kCount];
    weigh(values, importance.columns, importance.meanSquare, kCount, weights);
    scale = fitAroundZero(values, kCount, weights, half, levels);
  } else {
    scale = levelsAroundZero(values, half, levels);
  }
  putFloat16(block, scale);
  if (half == 16) putHighBits(levels, block + 2);
  putNibbles(levels, block + (half == 16 ? 6 : 2));
}

/// Levels from the lowest to the highest value.
ScaleAndMinimum levelsAboveMinimum(const float* values, int most, uint8_t* levels) {
  const auto [low, high] = std::minmax_element(values, values + kCount);
  const float scale = (*high - *low) / static_cast<float>(most), inverse = inverseOf(scale);
  for (int i = 0; i < kCount; ++i)
    levels[i] = static_cast<uint8_t>(std::min(static_cast<int>((values[i] - *low) * inverse + 0.5f), most));
  return {scale, -*low};
}

template <int most>
void writeAboveMinimum(const float* values, const Importance& importance, uint8_t* block) {
  uint8_t levels[kCount];
  ScaleAndMinimum fit;
  if (importance) {
    float weights[kCount];
    weigh(values, importance.columns, importance.meanSquare, kCount, weights);
    fit = fitAboveMinimum(values, kCount, weights, most, kWeightedTrials, levels);
  } else {
    fit = levelsAboveMinimum(values, most, levels);
  }
  putFloat16(block, fit.scale);
  putFloat16(block + 2, -fit.minimum);
  if (most == 31) putHighBits(levels, block + 4);
  putNibbles(levels, block + (most == 31 ? 8 : 4));
}

}  // namespace

void writeQ4_0(const float* values, const Importance& importance, uint8_t* block) {
  writeAroundZero<8>(values, importance, block);
}

void writeQ5_0(const float* values, const Importance& importance, uint8_t* block) {
  writeAroundZero<16>(values, importance, block);
}

void writeQ4_1(const float* values, const Importance& importance, uint8_t* block) {
  writeAboveMinimum<15>(values, importance, block);
}

void writeQ5_1(const float* values, const Importance& importance, uint8_t* block) {
  writeAboveMinimum<31>(values, importance, block);
}

void writeQ8_0(const float* values, const Importance&, uint8_t* block) {
  const float scale = std::fabs(peakOf(values, kCount)) / 127, inverse = inverseOf(scale);
  putFloat16(block, scale);
  for (int i = 0; i < kCount; ++i)
    block[2 + i] = static_cast<uint8_t>(static_cast<int>(std::round(values[i] * inverse)));
}

void writeMxfp4(const float* values, const Importance&, uint8_t* block) {
  // Thresholds between the magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6, in halves.
  constexpr float between[] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
  const float peak = std::fabs(peakOf(values, kCount));
  // The largest value lies in the highest binade; its logarithm is rounded first, as in ggml.
  const int exponent = peak > 0 ? std::clamp(static_cast<int>(std::floor(std::log2(peak))) - 2 + 127, 0, 254) : 0;
  const float half = std::ldexp(1.0f, exponent - 128);
  uint8_t codes[kCount];
  for (int i = 0; i < kCount; ++i) {
    const float halves = std::fabs(values[i]) / half;
    int code = 0;
    for (const float middle : between) code += halves > middle;
    codes[i] = static_cast<uint8_t>(values[i] < 0 && code > 0 ? code | 8 : code);
  }
  block[0] = static_cast<uint8_t>(exponent);
  putNibbles(codes, block + 1);
}

}  // namespace mora::quantise
