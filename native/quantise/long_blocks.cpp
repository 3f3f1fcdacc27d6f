// Blocks of 256 values in groups with scales of their own.
#include <algorithm>

#include "quantise/block_writers.h"

namespace mora::quantise {
namespace {

constexpr int kCount = 256, kGroups = 8, kGroup = 32;

struct Groups {
  float scales[kGroups], minima[kGroups];
  /// Sums of the values' weights; set only if the importance is known.
  float weights[kGroups];
};

Groups fitGroups(const float* values, const Importance& importance, int most, const Trials& trials, uint8_t* levels) {
  Groups groups{};
  const float meanSquare = importance ? 2 * sumOfSquares(values, kCount) / kCount : 0;
  for (int group = 0; group < kGroups; ++group) {
    const float* const own = values + kGroup * group;
    float weights[kGroup];
    if (importance) {
      weigh(own, importance.columns + kGroup * group, meanSquare, kGroup, weights);
      for (const float weight : weights) groups.weights[group] += weight;
    } else {
      const float average = std::sqrt(sumOfSquares(own, kGroup) / kGroup);
      for (int i = 0; i < kGroup; ++i) weights[i] = average + std::fabs(own[i]);
    }
    const ScaleAndMinimum fit =
        fitAboveMinimum(own, kGroup, weights, most, importance ? kWeightedTrials : trials, levels + kGroup * group);
    groups.scales[group] = fit.scale, groups.minima[group] = fit.minimum;
  }
  return groups;
}

/// Quantises non-negative numbers to six bits; returns their scale.
float sixBits(const float* numbers, const float* weights, uint8_t* levels) {
  if (weights) return fitAboveZero(numbers, kGroups, weights, 63, levels);
  const float most = std::max(0.0f, *std::max_element(numbers, numbers + kGroups));
  const float inverse = most > 0 ? 63 / most : 0;
  for (int i = 0; i < kGroups; ++i) levels[i] = static_cast<uint8_t>(std::min(nearest(inverse * numbers[i]), 63.0f));
  return most / 63;
}

/// Packs six bits each of eight scales and minima: all bits of the first four, and four bits of the others, whose upper
/// two fill the free bits of those bytes.
void putSixBits(const uint8_t* scales, const uint8_t* minima, uint8_t* bytes) {
  for (int i = 0; i < 4; ++i) {
    bytes[i] = static_cast<uint8_t>(scales[i] | (scales[i + 4] >> 4) << 6);
    bytes[4 + i] = static_cast<uint8_t>(minima[i] | (minima[i + 4] >> 4) << 6);
    bytes[8 + i] = static_cast<uint8_t>((scales[i + 4] & 15) | (minima[i + 4] & 15) << 4);
  }
}

/// Levels 0 to `most` above a minimum.
template <int most>
void writeAboveMinimum(const float* values, const Importance& importance, const Trials& trials, uint8_t* block) {
  uint8_t levels[kCount], scaleLevels[kGroups], minimumLevels[kGroups];
  const Groups groups = fitGroups(values, importance, most, trials, levels);
  const float* const weights = importance ? groups.weights : nullptr;
  const float scale = putFloat16(block, sixBits(groups.scales, weights, scaleLevels));
  const float minimum = putFloat16(block + 2, sixBits(groups.minima, weights, minimumLevels));
  putSixBits(scaleLevels, minimumLevels, block + 4);
  for (int group = 0; group < kGroups; ++group) {
    const float own = scale * static_cast<float>(scaleLevels[group]);
    if (own == 0) continue;
    const float ownMinimum = minimum * static_cast<float>(minimumLevels[group]);
    for (int i = kGroup * group; i < kGroup * (group + 1); ++i)
      levels[i] = static_cast<uint8_t>(clamped(nearest((values[i] + ownMinimum) / own), 0, most));
  }
  uint8_t* low = block + 16;
  if (most == 31) {
    std::fill_n(low, 32, uint8_t{0});
    for (int i = 0; i < kCount; ++i) low[i % 32] |= static_cast<uint8_t>(levels[i] >> 4 << i / 32);
    low += 32;
  }
  for (int i = 0; i < kCount / 2; ++i) {
    const uint8_t* const pair = levels + 64 * (i / 32) + i % 32;
    low[i] = static_cast<uint8_t>((pair[0] & 15) | (pair[32] & 15) << 4);
  }
}

}  // namespace

void writeQ4K(const float* values, const Importance& importance, uint8_t* block) {
  writeAboveMinimum<15>(values, importance, {-1.0f, 0.1f, 20}, block);
}

void writeQ5K(const float* values, const Importance& importance, uint8_t* block) {
  writeAboveMinimum<31>(values, importance, {-0.5f, 0.1f, 15}, block);
}

/// 16 groups of 16 with scales of 8 bits, levels around zero.
void writeQ6K(const float* values, const Importance& importance, uint8_t* block) {
  constexpr int groups = 16, size = 16;
  uint8_t levels[kCount];
  float scales[groups];
  for (int group = 0; group < groups; ++group) {
    const float* const weights = importance ? importance.columns + size * group : nullptr;
    scales[group] = fitAroundZero(values + size * group, size, weights, 32, levels + size * group);
  }
  std::fill_n(block, 210, uint8_t{0});
  const float peak = peakOf(scales, groups);
  if (std::fabs(peak) < kTiny) return;
  const float inverse = -128 / peak;
  const float scale = putFloat16(block + 208, 1 / inverse);
  for (int group = 0; group < groups; ++group) {
    const float level = std::min(nearest(inverse * scales[group]), 127.0f);
    block[192 + group] = static_cast<uint8_t>(static_cast<int>(level));
    const float own = scale * level;
    if (own == 0) continue;
    for (int i = size * group; i < size * (group + 1); ++i)
      levels[i] = static_cast<uint8_t>(32 + clamped(nearest(values[i] / own), -32, 31));
  }
  for (int i = 0; i < kCount; ++i) {
    const int half = i / 128, quarter = i / 32 % 4, place = i % 32;
    block[64 * half + 32 * (quarter % 2) + place] |= static_cast<uint8_t>((levels[i] & 15) << 4 * (quarter / 2));
    block[128 + 32 * half + place] |= static_cast<uint8_t>(levels[i] >> 4 << 2 * quarter);
  }
}

}  // namespace mora::quantise
