// Values of frozen matrices of small codes.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// target = values of the matrix, starting at a row and a column (a multiple of 2).
void unpackPanel(const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target);

/// Number of values of a row that are unpacked at a time, so that they stay in the nearest cache.
constexpr int64_t kCodePiece = 2048;

/// values = columns [column, column + count) of a row, at most kCodePiece of them; `column` is even for codes of 4
/// bits.
void unpackCodedRow(const CodedMatrix& matrix, int64_t row, int64_t column, int64_t count, float* values);

/// Scales and zeros [first, first + count) of a matrix.
void readScales(const CodedMatrix& matrix, int64_t first, int64_t count, float* scales, float* zeros);

}  // namespace mora::cpu
