// Searches for the scale of a few values, as ggml's quantisers do (ggml-quants.c): each operation is rounded to float
// in their order, so that results equal theirs bit for bit on every machine. Nothing here may be contracted to a
// multiply-add.
#pragma once
#include <cmath>
#include <cstdint>

namespace mora::quantise {

/// Smaller values count as zero.
inline constexpr float kTiny = 1e-15f;

/// The nearest whole number of a float below 2^22, halves to even: adding 1.5 * 2^23 leaves no room for a fraction.
inline float nearest(float value) { return value + 12582912.0f - 12582912.0f; }

inline float clamped(float value, float least, float most) {
  return value < least ? least : value > most ? most : value;
}

/// 1 / scale, or 0 if the scale is 0.
inline float inverseOf(float scale) { return scale == 0 ? 0 : 1 / scale; }

/// The value of the largest magnitude, with its sign.
float peakOf(const float* values, int count);

float sumOfSquares(const float* values, int64_t count);

/// The trial scales of a search.
struct Trials {
  float first, step;
  int count;
};

inline constexpr Trials kWeightedTrials = {-0.9f, 0.05f, 36};

struct ScaleAndMinimum {
  float scale, minimum;
};

/// Fits x = scale * level - minimum with levels 0 to `most` by weighted least squares: finds the levels for some trial
/// scales, then the best scale and minimum for those levels. count <= 32. Neither result is negative.
ScaleAndMinimum fitAboveMinimum(const float* values, int count, const float* weights, int most, const Trials& trials,
                                uint8_t* levels);

/// Fits x = scale * (level - half) with levels 0 to 2 half - 1 by weighted least squares: returns the best of some
/// trial scales. Without weights, a value's weight is its square.
float fitAroundZero(const float* values, int count, const float* weights, int half, uint8_t* levels);

/// Fits x = scale * level with levels 0 to `most` to non-negative values: takes the best of some trial scales, then
/// improves levels one by one.
float fitAboveZero(const float* values, int count, const float* weights, int most, uint8_t* levels);

}  // namespace mora::quantise
