// Searches for the scale of a few values, as ggml's quantisers make them (ggml-quants.c): each operation is rounded to
// float in the order in which they do it, so that results are theirs, bit for bit, on every machine. Nothing here may
// be contracted to a multiply-add.
#pragma once
#include <cmath>
#include <cstdint>

namespace mora::quantise {

/// Values below this are zero.
inline constexpr float kTiny = 1e-15f;

/// The nearest whole number of a float below 2^22, halves to even: adding 1.5 * 2^23 leaves no room for a fraction.
inline float nearest(float value) { return value + 12582912.0f - 12582912.0f; }

inline float clamped(float value, float least, float most) {
  return value < least ? least : value > most ? most : value;
}

/// 1 / scale, of 0: 0.
inline float inverseOf(float scale) { return scale == 0 ? 0 : 1 / scale; }

/// The value that is largest without its sign.
float peakOf(const float* values, int count);

float sumOfSquares(const float* values, int64_t count);

/// The scales of a search.
struct Trials {
  float first, step;
  int count;
};

inline constexpr Trials kWeightedTrials = {-0.9f, 0.05f, 36};

struct ScaleAndMinimum {
  float scale, minimum;
};

/// x = scale * level - minimum with levels 0 to `most`, of least weighted squares: for some trial scales the levels,
/// then the best scale and minimum of those. count <= 32. Neither result is negative.
ScaleAndMinimum fitAboveMinimum(const float* values, int count, const float* weights, int most, const Trials& trials,
                                uint8_t* levels);

/// x = scale * (level - half) with levels 0 to 2 half - 1, of least weighted squares: of some trial scales the best.
/// Without weights, that of a value is its square.
float fitAroundZero(const float* values, int count, const float* weights, int half, uint8_t* levels);

/// x = scale * level with levels 0 to `most`, for values that are not negative: the best of some trial scales, then
/// levels one by one where another is better.
float fitAboveZero(const float* values, int count, const float* weights, int most, uint8_t* levels);

}  // namespace mora::quantise
