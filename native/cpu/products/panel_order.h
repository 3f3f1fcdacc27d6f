// The order in which oneDNN's kernels read a right operand of bf16, which its own reorder makes several times as
// slowly.
#pragma once
#include <cstdint>

namespace mora::cpu {

/// b [rows, columns], of which rows or columns are contiguous; strides in elements.
struct RightOperand {
  const uint16_t* values;
  int64_t rows, columns, rowStride, columnStride;
};

/// Writes blocks of 32 rows and `width` columns (16, 32, 48 or 64), those of the same columns side by side. In a block
/// lie pairs of rows, one after the other, and in these the two values of each column. Zeros fill what is not there.
/// oneDNN calls that BA16a64b2a for 64 columns.
void packPairs(const RightOperand& b, int64_t width, uint16_t* packed);

}  // namespace mora::cpu
