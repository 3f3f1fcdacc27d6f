// IQ4_NL and IQ4_XS: 4-bit codes of 16 uneven levels.
#include <algorithm>

#include "quantise/block_writers.h"

namespace mora::quantise {
namespace {

constexpr int kCount = 32, kTrials = 7;
constexpr float kLevels[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// Codes by twice the number of units, rounded down, since the middle between two levels is a half.
struct Codes {
  static constexpr int kLeast = -256, kMost = 255;
  uint8_t codes[kMost - kLeast + 1];

  constexpr Codes() : codes() {
    for (int doubled = kLeast; doubled <= kMost; ++doubled) {
      int code = 0;
      while (code < 15 && static_cast<float>(doubled) >= kLevels[code] + kLevels[code + 1]) ++code;
      codes[doubled - kLeast] = static_cast<uint8_t>(code);
    }
  }
};

constexpr Codes kCodes;

/// The code of the nearest level; the upper one of two.
int nearestCode(float units) {
  const float doubled = clamped(2 * units, Codes::kLeast, Codes::kMost);
  const int whole = static_cast<int>(doubled);
  return kCodes.codes[whole - (doubled < static_cast<float>(whole)) - Codes::kLeast];
}

/// The scale of 32 values by weighted least squares.
float fitScale(const float* values, const float* weights) {
  const float peak = peakOf(values, kCount);
  if (std::fabs(peak) < kTiny) return 0;
  float scale = 0, best = 0;
  for (int trial = -kTrials - 1; trial <= kTrials; ++trial) {
    // The first trial scale maps the value of the largest magnitude to the lowest level.
    const bool isFirst = trial < -kTrials;
    const float inverse = isFirst ? 1 / (-peak / kLevels[0]) : (static_cast<float>(trial) + kLevels[0]) / peak;
    float sumXL = 0, sumLL = 0;
    for (int i = 0; i < kCount; ++i) {
      const float level = kLevels[nearestCode(inverse * values[i])], weighted = weights[i] * level;
      sumXL += weighted * values[i];
      sumLL += weighted * level;
    }
    if (!isFirst && !(sumLL > 0 && sumXL * sumXL > best * sumLL)) continue;
    scale = sumXL / sumLL;
    best = scale * sumXL;
  }
  return scale;
}

float fitGroup(const float* values, const float* columns, float meanSquare) {
  float weights[kCount];
  if (columns) {
    weigh(values, columns, meanSquare, kCount, weights);
  } else {
    for (int i = 0; i < kCount; ++i) weights[i] = values[i] * values[i];
  }
  return fitScale(values, weights);
}

void putCodes(const float* values, float scale, uint8_t* bytes) {
  const float inverse = inverseOf(scale);
  uint8_t codes[kCount];
  for (int i = 0; i < kCount; ++i) codes[i] = static_cast<uint8_t>(nearestCode(inverse * values[i]));
  putNibbles(codes, bytes);
}

}  // namespace

void writeIq4Nl(const float* values, const Importance& importance, uint8_t* block) {
  const float meanSquare = sumOfSquares(values, kCount) * (2.0f / kCount);
  const float scale = fitGroup(values, importance.columns, meanSquare);
  putFloat16(block, scale);
  putCodes(values, scale, block + 2);
}

void writeIq4Xs(const float* values, const Importance& importance, uint8_t* block) {
  constexpr int groups = 8;
  const float meanSquare = sumOfSquares(values, groups * kCount) * (2.0f / (groups * kCount));
  float scales[groups];
  for (int group = 0; group < groups; ++group) {
    const float* const columns = importance ? importance.columns + kCount * group : nullptr;
    scales[group] = fitGroup(values + kCount * group, columns, meanSquare);
  }
  const float common = -peakOf(scales, groups) / 32, inverse = inverseOf(common);
  putFloat16(block, common);
  std::fill_n(block + 2, 6, uint8_t{0});
  for (int group = 0; group < groups; ++group) {
    const float level = clamped(nearest(inverse * scales[group]), -32, 31);
    putCodes(values + kCount * group, common * level, block + 8 + 16 * group);
    const int stored = static_cast<int>(level) + 32;
    block[4 + group / 2] |= static_cast<uint8_t>((stored & 15) << 4 * (group % 2));
    block[2 + group / 4] |= static_cast<uint8_t>(stored >> 4 << 2 * (group % 4));
  }
}

}  // namespace mora::quantise
