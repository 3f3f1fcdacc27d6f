// Products of some rows of activations with a weight in GGUF's blocks, by matrix units of bytes (AMX).
#pragma once
#include "core/backend.h"

namespace mora::cpu {

/// Whether multiplyBlockMatrices computes c = a weight^T, and faster than multiplyFewRows does on this processor.
bool prefersBlockMatrices(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c);

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0), with the rounding of multiplyFewRows, but in
/// another order of sums. A row's sums do not depend on the other rows.
void multiplyBlockMatrices(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                           bool accumulate);

}  // namespace mora::cpu
