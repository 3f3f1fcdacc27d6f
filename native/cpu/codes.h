// Values of frozen matrices of small codes.
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// target = values of the matrix from a row and a column (a multiple of 2) on, as many as it has rows and columns.
void unpackPanel(const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target);

}  // namespace mora::cpu
