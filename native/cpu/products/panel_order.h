// The order in which oneDNN's kernels read a right operand of bf16. oneDNN's own reorder is several times slower.
#pragma once
#include <cstdint>

namespace mora::cpu {

/// b [rows, columns] with contiguous rows or columns; strides in elements.
struct RightOperand {
  const uint16_t* values;
  int64_t rows, columns, rowStride, columnStride;
};

constexpr int64_t kPackedRows = 32;  // of a block of packPairs

/// Rows with the zeros that packPairs adds.
constexpr int64_t paddedRows(int64_t rows) { return (rows + kPackedRows - 1) / kPackedRows * kPackedRows; }

/// Writes blocks of kPackedRows rows and `width` columns (16, 32, 48 or 64); blocks of the same columns are
/// consecutive. A block contains pairs of rows, in order, and a pair the two values of each column. Zeros fill
/// incomplete blocks. oneDNN calls this BA16a64b2a for 64 columns.
void packPairs(const RightOperand& b, int64_t width, uint16_t* packed);

}  // namespace mora::cpu
