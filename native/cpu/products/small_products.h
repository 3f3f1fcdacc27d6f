// Products of small float32 matrices, summed in double precision.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// Rows of doubles have a multiple of this length, which is whole vectors of any instruction set.
constexpr int64_t kPadding = 8;

/// A matrix of floats with any strides.
struct StridedMatrix {
  float* data;
  int64_t row, column;

  float& at(int64_t i, int64_t j) const { return data[i * row + j * column]; }
};

/// c = alpha op(a) op(b) + (accumulate ? c : 0) for float32 matrices [m, n], or batches of them, of any strides, on the
/// calling thread. Sums are in f64, so each result is rounded once: a tiny model then trains reproducibly to the last
/// digits of float32, even where AdamW divides a gradient by its own magnitude.
void multiplySmall(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
                   float alpha, bool accumulate);

}  // namespace mora::cpu
