// What operations take beside tensors (core/operations.def): plain structures, which cross to backends as they are.
// Grouping and SectionPlan, the geometry of MoRA's operators, are in mora/geometry.h.
#pragma once
#include <cstdint>

#include "mora/geometry.h"  // MORA_HOST_DEVICE

namespace mora {

/// Identity of a dropout mask: the mask of element (row, column) is a function of this and of rowKeys[row] only,
/// so it depends neither on micro-batches nor on packing. Philox4x32-10, see core/math/philox.h.
struct DropoutKey {
  uint32_t key[2];
  float probability;  // of dropping
};

/// Some columns of logits, from `first` on. With a softcap > 0 they are capped first.
struct LogitsPart {
  int64_t first;
  float softcap;
};

/// How a token is drawn: from softmax(logits / temperature) over the topK likeliest tokens (0: all), and of these over
/// the fewest likeliest that have at least topP of their probability together (1: all). Of equal ones, lower ids come
/// first.
struct Sampling {
  double temperature;
  int64_t topK;
  double topP;
};

/// Elementwise functions f: silu(x) = x sigmoid(x), gelu(x) = x Phi(x) with the normal distribution's Phi, geluTanh its
/// approximation x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (arXiv 1606.08415), relu(x) = max(x, 0).
enum class Activation : int32_t { silu = 0, gelu, geluTanh, relu };

/// Functions of one or two elements, with a and b in the order of the call. The last three take a gradient through
/// sqrt, tanh and sigmoid: a is the gradient of the result, b the result.
enum class Elementwise : int32_t {
  exp = 0,          // e^a
  log,              // ln a
  sqrt,             // the square root of a
  tanh,             // tanh a
  sigmoid,          // 1 / (1 + e^-a)
  multiply,         // a b
  divide,           // a / b
  sqrtGradient,     // a / (2 b)
  tanhGradient,     // a (1 - b^2)
  sigmoidGradient,  // a b (1 - b)
};
MORA_HOST_DEVICE constexpr bool takesTwo(Elementwise f) { return f >= Elementwise::multiply; }

/// What attention makes of the products of a query with keys, score = scale q.k: with a softcap c > 0 it becomes
/// c tanh(score / c) (Gemma 2); with a window w > 0 a query sees its own key and the w - 1 before it only.
struct AttentionScoring {
  float scale, softcap;
  int64_t window;

  /// What the softmax multiplies (capped) scores with.
  float softmaxScale() const { return softcap > 0 ? 1.0f : scale; }
  /// The most keys that a query sees of `keys`.
  int64_t mostVisible(int64_t keys) const { return window > 0 && window < keys ? window : keys; }
};

/// Not yet rounded to float32: 1 - beta of a rounded beta2 = 0.999 would be off by 1e-5 of itself.
struct AdamWStep {
  double learningRate, beta1, beta2, epsilon, weightDecay;
  double biasCorrection1, biasCorrection2;  // 1 - beta^step
};

/// How small codes become the values of a matrix [rows, columns]; see CodedMatrix.
struct CodeLayout {
  int64_t columns;
  int64_t firstRow;        // of the codes, among all rows that have scales
  int64_t rowsPerScale;    // rows that share their scales
  int64_t groupSize;       // columns of a group, which shares a scale
  int64_t scalesPerScale;  // of scales that are codes themselves
  float scaleOffset;       // the same
  float zero;              // where there are no zeros
  int32_t bits;            // of a code: 4 or 8
  int32_t highFirst;       // of two 4-bit codes in a byte, the even column has the high bits
  int32_t runsOn;          // groups run on from row to row, as if all rows were one

  int64_t groupsOfRow() const { return (columns + groupSize - 1) / groupSize; }
  /// Which scale belongs to a column of a group; `group` counts where groups do not run on.
  int64_t scaleAt(int64_t row, int64_t column, int64_t group) const {
    if (runsOn) return ((firstRow + row) * columns + column) / groupSize;
    return (firstRow + row) / rowsPerScale * groupsOfRow() + group;
  }
};

}  // namespace mora
