// Products of tens of rows of bf16 (with matrix units, of few rows too) with a frozen weight, as in writing many texts
// at once. Instead of the weight, which has more values, the activations are put in the order of the kernel.
#pragma once
#include "core/backend.h"

namespace mora::cpu {

/// Whether multiplyTensOfRows computes c = a weight^T, and faster than other kernels do on this processor.
bool prefersTensOfRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c);

/// c [m, n] = alpha a [m, k] weight [n, k]^T + (accumulate ? c : 0) in f32 sums, for activations in bf16 and a weight
/// in bf16 or in blocks, whose values are rounded to bf16. A row's sums do not depend on the other rows.
void multiplyTensOfRows(const TensorDesc& a, const TensorDesc& weight, const TensorDesc& c, float alpha,
                        bool accumulate);

}  // namespace mora::cpu
