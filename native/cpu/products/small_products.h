// Products of small float32 matrices, as exact as their results can be.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// Rows of doubles are whole vectors of any instruction set: so many at a time.
constexpr int64_t kPadding = 8;

/// A matrix of floats of any strides.
struct StridedMatrix {
  float* data;
  int64_t row, column;

  float& at(int64_t i, int64_t j) const { return data[i * row + j * column]; }
};

/// c = alpha op(a) op(b) + (accumulate ? c : 0) for float32 matrices [m, n], or batches of them, of any strides, on the
/// calling thread. Sums are in f64, so each result is rounded once: a model of tiny layers is then trained to the last
/// digits of float32, also where AdamW divides a gradient by its own size.
void multiplySmall(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                   float alpha, bool accumulate);

}  // namespace mora::cpu
