// Parameters of operations beside tensors (core/operations.def): plain structures that are passed to backends
// unchanged. Grouping and SectionPlan, the geometry of MoRA's operators, are in mora/geometry.h.
#pragma once
#include <cstdint>

#include "mora/geometry.h"  // MORA_HOST_DEVICE

namespace mora {

/// Key of a dropout mask: the mask of element (row, column) is a function of this and of rowKeys[row] only, so it
/// depends neither on micro-batches nor on packing. Philox4x32-10, see core/math/philox.h.
struct DropoutKey {
  uint32_t key[2];
  float probability;  // of dropping
};

/// Columns of logits, starting at `first`. With a softcap > 0 they are capped first.
struct LogitsPart {
  int64_t first;
  float softcap;
};

/// How a token is sampled, a row of the settings of `sample`: from softmax(logits / temperature), of which the fields,
/// in their order, keep tokens with at least minP of the likeliest one's probability (0: all), then the topK likeliest
/// (0: all), then the fewest likeliest whose probabilities sum to at least topP of the rest's (1: all), then those
/// whose surprises -ln p are the nearest to their mean, the entropy, until they sum to typicalP (1: all; arXiv
/// 2202.00666), with all that are as near as the last one. Ties of topK and topP prefer lower ids. No value of topK,
/// topP or minP excludes the likeliest token.
struct Sampling {
  float temperature, minP, topK, topP, typicalP;

  /// Below this temperature the likeliest token is taken.
  static constexpr float kLeastTemperature = 1e-5f;
  static constexpr int64_t kFields = 5;
  MORA_HOST_DEVICE bool greedy() const { return !(temperature >= kLeastTemperature); }
  MORA_HOST_DEVICE bool limits(int64_t tokens) const { return topK >= 1 && topK < static_cast<float>(tokens); }
};

/// The activation functions of core/operations.def.
enum class Activation : int32_t {
#define MORA_ACTIVATION(name) name,
#include "core/operations.def"
};

/// The functions of elements of core/operations.def.
enum class Elementwise : int32_t {
#define MORA_ELEMENTWISE(name, operands) name,
#include "core/operations.def"
};

/// Whether f has two operands.
MORA_HOST_DEVICE constexpr bool takesTwo(Elementwise f) {
  switch (f) {
#define MORA_ELEMENTWISE(name, operands) \
  case Elementwise::name:                \
    return (operands) == 2;
#include "core/operations.def"
  }
  return false;
}

/// How attention scores a query and a key: score = scale q.k; a softcap c > 0 makes it c tanh(score / c) (Gemma 2);
/// with a window w > 0 a query sees only its own key and the w - 1 before it.
struct AttentionScoring {
  float scale, softcap;
  int64_t window;

  /// The factor of the (capped) scores in the softmax.
  float softmaxScale() const { return softcap > 0 ? 1.0f : scale; }
  /// The largest number of keys that a query sees.
  int64_t mostVisible(int64_t keys) const { return window > 0 && window < keys ? window : keys; }
};

/// Factors in double precision: 1 - beta2 of a beta2 = 0.999 rounded to float32 would have a relative error of 1e-5.
struct AdamWStep {
  double learningRate, beta1, beta2, epsilon, weightDecay;
  double biasCorrection1, biasCorrection2;  // 1 - beta^step
};

/// How small codes become the values of a matrix [rows, columns]; see CodedMatrix.
struct CodeLayout {
  int64_t columns;
  int64_t firstRow;        // of the codes, counted in all rows that have scales
  int64_t rowsPerScale;    // rows that share their scales
  int64_t groupSize;       // columns of a group, which shares a scale
  int64_t scalesPerScale;  // if scales are codes
  float scaleOffset;       // if scales are codes
  float zero;              // if there is no tensor of zeros
  int32_t bits;            // of a code: 4 or 8
  int32_t highFirst;       // in a byte of two 4-bit codes, the even column has the high bits
  int32_t runsOn;          // groups continue from row to row, as if all rows were one

  int64_t groupsOfRow() const { return (columns + groupSize - 1) / groupSize; }
  /// The index of a column's scale; `group` is ignored if groups continue from row to row.
  int64_t scaleAt(int64_t row, int64_t column, int64_t group) const {
    if (runsOn) return ((firstRow + row) * columns + column) / groupSize;
    return (firstRow + row) / rowsPerScale * groupsOfRow() + group;
  }
};

}  // namespace mora
