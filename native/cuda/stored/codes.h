// Values of frozen matrices of small codes on the device.
#pragma once
#include "cuda/runtime/context.h"

namespace mora::cuda {

/// target = values of the matrix, starting at a row and a column (a multiple of 8).
void unpackPanel(Context& context, const CodedMatrix& matrix, int64_t row, int64_t column, const TensorDesc& target);

}  // namespace mora::cuda
