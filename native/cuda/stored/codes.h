// Values of frozen matrices of small codes on the device.
#pragma once
#include "cuda/runtime/context.h"

namespace mora::cuda {

/// target = values of the matrix from a row and a column (a multiple of 8) on, as many as it has rows and columns.
void unpackPanel(Context& context, const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target);

}  // namespace mora::cuda
