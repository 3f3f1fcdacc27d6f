#include "quantise/fits.h"

#include <algorithm>

namespace mora::quantise {

float peakOf(const float* values, int count) {
  float peak = 0;
  for (int i = 0; i < count; ++i)
    if (std::fabs(values[i]) > std::fabs(peak)) peak = values[i];
  return peak;
}

float sumOfSquares(const float* values, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += values[i] * values[i];
  return sum;
}

namespace {

float weightedError(const float* values, int count, const float* weights, ScaleAndMinimum fit, const float* levels) {
  float error = 0;
  for (int i = 0; i < count; ++i) {
    const float difference = fit.scale * levels[i] + fit.minimum - values[i];
    error += weights[i] * (difference * difference);
  }
  return error;
}

}  // namespace

ScaleAndMinimum fitAboveMinimum(const float* values, int count, const float* weights, int most, const Trials& trials,
                                uint8_t* levels) {
  float low = values[0], high = values[0], sumOfWeights = weights[0], sumX = sumOfWeights * values[0];
  for (int i = 1; i < count; ++i) {
    low = std::min(low, values[i]), high = std::max(high, values[i]);
    sumOfWeights += weights[i];
    sumX += weights[i] * values[i];
  }
  low = std::min(low, 0.0f);
  if (high <= low) {
    std::fill_n(levels, count, uint8_t{0});
    return {0, -low};
  }
  const auto top = static_cast<float>(most);
  float tried[32];
  float inverse = top / (high - low);
  // The minimum with its sign, until the end.
  ScaleAndMinimum best = {1 / inverse, low};
  for (int i = 0; i < count; ++i) {
    tried[i] = clamped(nearest(inverse * (values[i] - low)), 0, top);
    levels[i] = static_cast<uint8_t>(tried[i]);
  }
  float leastError = weightedError(values, count, weights, best, tried);
  for (int trial = 0; trial <= trials.count; ++trial) {
    // Starts from the best minimum so far, which may be near the highest value: only values above 0 count.
    inverse = (trials.first + trials.step * static_cast<float>(trial) + top) / (high - best.minimum);
    float sumL = 0, sumLL = 0, sumXL = 0;
    for (int i = 0; i < count; ++i) {
      const float units = inverse * (values[i] - best.minimum);
      tried[i] = units > 0 ? nearest(units < top ? units : top) : 0;
      const float weighted = weights[i] * tried[i];
      sumL += weighted;
      sumLL += weighted * tried[i];
      sumXL += weighted * values[i];
    }
    const float determinant = sumOfWeights * sumLL - sumL * sumL;
    if (!(determinant > 0)) continue;
    ScaleAndMinimum fit = {(sumOfWeights * sumXL - sumX * sumL) / determinant,
                           (sumLL * sumX - sumL * sumXL) / determinant};
    if (fit.minimum > 0) fit = {sumXL / sumLL, 0};
    const float error = weightedError(values, count, weights, fit, tried);
    if (!(error < leastError)) continue;
    for (int i = 0; i < count; ++i) levels[i] = static_cast<uint8_t>(tried[i]);
    leastError = error, best = fit;
  }
  return {best.scale, -best.minimum};
}

float fitAroundZero(const float* values, int count, const float* weights, int half, uint8_t* levels) {
  const float peak = peakOf(values, count);
  if (std::fabs(peak) < kTiny) {
    std::fill_n(levels, count, uint8_t{0});
    return 0;
  }
  const auto size = static_cast<float>(half);
  float scale = 0, best = 0;
  for (int trial = 0; trial <= 18; ++trial) {
    // 0, then -9 to 9 without 0.
    const int step = trial == 0 ? 0 : trial <= 9 ? trial - 10 : trial - 9;
    const float inverse = -(size + 0.1f * static_cast<float>(step)) / peak;
    float sumXL = 0, sumLL = 0;
    for (int i = 0; i < count; ++i) {
      const float level = clamped(nearest(inverse * values[i]), -size, size - 1);
      const float weight = weights ? weights[i] : values[i] * values[i];
      sumXL += weight * values[i] * level;
      sumLL += weight * level * level;
    }
    if (trial > 0 && !(sumLL > 0 && sumXL * sumXL > best * sumLL)) continue;
    for (int i = 0; i < count; ++i)
      levels[i] = static_cast<uint8_t>(size + clamped(nearest(inverse * values[i]), -size, size - 1));
    scale = sumLL > 0 ? sumXL / sumLL : 0;
    best = scale * sumXL;
  }
  return scale;
}

float fitAboveZero(const float* values, int count, const float* weights, int most, uint8_t* levels) {
  const float high = std::max(0.0f, *std::max_element(values, values + count));
  std::fill_n(levels, count, uint8_t{0});
  if (high < kTiny) return 0;
  const auto top = static_cast<float>(most);
  float inverse = 0, leastError = 0;
  for (int trial = 0; trial <= 8; ++trial) {
    const int step = trial == 0 ? 0 : trial <= 4 ? trial - 5 : trial - 4;
    const float own = (0.1f * static_cast<float>(step) + top) / high;
    const float scale = 1 / own;
    float error = 0;
    for (int i = 0; i < count; ++i) {
      const float difference = values[i] - scale * std::min(nearest(own * values[i]), top);
      error += weights[i] * difference * difference;
    }
    if (trial > 0 && !(error < leastError)) continue;
    leastError = error, inverse = own;
  }
  float sumXL = 0, sumLL = 0;
  for (int i = 0; i < count; ++i) {
    const float level = std::min(nearest(inverse * values[i]), top);
    levels[i] = static_cast<uint8_t>(level);
    sumXL += weights[i] * values[i] * level;
    sumLL += weights[i] * level * level;
  }
  for (int round = 0; round < 5; ++round) {
    bool changed = false;
    for (int i = 0; i < count; ++i) {
      const float level = levels[i], weight = weights[i];
      float xl = sumXL - weight * values[i] * level, ll = sumLL - weight * level * level;
      if (!(xl > 0 && ll > 0)) continue;
      const float other = std::min(nearest(values[i] * ll / xl), top);
      if (other == level) continue;
      xl += weight * values[i] * other;
      ll += weight * other * other;
      if (!(xl * xl * sumLL > sumXL * sumXL * ll)) continue;
      levels[i] = static_cast<uint8_t>(other);
      sumXL = xl, sumLL = ll, changed = true;
    }
    if (!changed) break;
  }
  return sumLL > 0 ? sumXL / sumLL : 0;
}

}  // namespace mora::quantise
