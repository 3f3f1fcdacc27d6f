// Products with a frozen matrix that is unpacked in panels (core/math/panels.h).
#pragma once
#include <cstdint>

#include "core/backend.h"

namespace mora::cpu {

/// c = alpha a op(b) + (accumulate ? c : 0) for b [n, k] in a block format.
void multiplyQuantised(const TensorDesc& a, const TensorDesc& b, bool transposeB, const TensorDesc& c, float alpha,
                       bool accumulate);

}  // namespace mora::cpu
